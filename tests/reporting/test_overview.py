from pathlib import Path

from e2mc.plan import layout, needs
from e2mc.plan.quantities import duration
from tests.reporting.parsed import Parsed
from tests.reporting.synthetic_results import experiment


def test_the_overview_has_cost_verdicts_provenance_and_configuration(finished: Path) -> None:
    text = (finished / layout.PAGE.format(page="overview")).read_text()
    cells = [content for content, _ in Parsed(text).cells]
    jobs = len(needs.trainings(experiment(trials=2))) - 3
    stage = cells.index("pretrain")
    hours = f"{jobs * 2}.00", duration(jobs * 1800), str(jobs)
    assert cells[stage : stage + 5] == ["pretrain", str(jobs), *hours]
    assert cells.index("not comparable at this scale")
    assert "torch" in text, "the packages of the one evaluation with a provenance"
    assert "entropy_weight: 0.01" in text
