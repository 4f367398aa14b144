"""The map of where a criterion helps: gains, verdicts, table and figure from known points."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_rel

from e2mc.errors import E2MCError
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell
from e2mc.reporting.figures import write_figure
from e2mc.reporting.gain_map import gains
from e2mc.reporting.pages import write_page
from e2mc.reporting.tables import write_table
from tests.reporting.synthetic_results import MAP_IMAGES, experiment, rows, write_points

TRIALS = 6
SMALL = experiment(
    trials=TRIALS,
    data={"inat18": None, "voc07": None},
    evaluation={"subsets": {"classes": [10], "shots": [1, 5], "draws": 3}},
    tables={},
)
GAINS = {(10, 1): 0.0, (10, 5): 1.0, (200, 1): -1.0, (200, 5): 0.05}
"""Of E2MC on VICReg, by classes and shots; all else gains nothing."""


def noise(cell: Cell, point: tuple[int, int]) -> float:
    """Arms of one trial share most of theirs."""
    shared = np.random.default_rng([cell.trial, *point]).normal()
    own = np.random.default_rng([cell.trial, *point, sum(cell.criterion.encode())]).normal()
    return float(shared + 0.1 * own)


def top1(cell: Cell, point: tuple[int, int]) -> float:
    gain = GAINS[point] if (cell.base, cell.criterion) == ("vicreg-60", "e2mc") else 0.0
    return 40 + gain + noise(cell, point)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for cell in needs.table_inputs(SMALL, "map"):
        write_points(tmp_path, cell, {("random", *point): top1(cell, point) for point in GAINS})
    return tmp_path


def written(results: Path) -> tuple[pd.DataFrame, str]:
    csv, tex = (results / f"tables/map.{suffix}" for suffix in ("csv", "tex"))
    write_table(SMALL, results, "map", csv, tex)
    return pd.read_csv(csv), tex.read_text()


def test_every_arm_of_every_trial_is_asked_for() -> None:
    cells = needs.table_inputs(SMALL, "map")
    arms = {(cell.base, cell.criterion) for cell in cells}
    assert ("vicreg-60", "continued") in arms
    assert ("swav-60", "auh") in arms
    assert "base" not in {criterion for _, criterion in arms}
    assert {cell.trial for cell in cells} == set(range(TRIALS))
    assert set(cells) <= set(needs.all_inputs(SMALL))
    assert needs.table_inputs(experiment(), "map") == []


def test_gains_are_paired_by_trial(results: Path) -> None:
    frame, _ = written(results)
    line = frame.set_index(["base", "criterion", "classes", "shots"]).loc[
        "vicreg-60", "e2mc", 200, 1
    ]
    arms = [
        [top1(Cell("vicreg-60", arm, trial, "subsets"), (200, 1)) for trial in range(TRIALS)]
        for arm in ("continued", "e2mc")
    ]
    difference = np.subtract(arms[1], arms[0])
    reach = t.ppf(0.975, TRIALS - 1) * difference.std(ddof=1) / TRIALS**0.5
    assert line["mean"] == pytest.approx(difference.mean(), rel=1e-5)
    assert line["high"] - line["low"] == pytest.approx(2 * reach, rel=1e-4)
    assert line["pvalue"] == pytest.approx(ttest_rel(*arms).pvalue, rel=1e-5)
    assert line["continued"] == pytest.approx(np.mean(arms[0]), rel=1e-5)
    assert line["n"] == TRIALS


def test_verdicts_are_those_of_the_known_gains(results: Path) -> None:
    frame, tex = written(results)
    found = frame.set_index(["base", "criterion", "classes", "shots"])["verdict"].sort_index()
    expected = {1.0: "helps", -1.0: "hurts"}
    for point, gain in GAINS.items():
        verdict = expected.get(gain, "nothing can be said")
        assert found["vicreg-60", "e2mc", *point] == verdict
    assert (found["simsiam-60", "e2mc"] == "nothing can be said").all()
    assert "Clear gains: 1 of " in tex and "; clear losses: 1;" in tex
    first = rows(tex)[0]
    assert first[:4] == ["VICReg-60", "E$^2$MC", "random classes", "10"]
    assert r"\textbf" not in first[4]
    assert r"\textbf{\boldmath$+" in first[5], "formulas are not bold by themselves"


def test_holm_over_all_points_of_a_model(results: Path) -> None:
    """Step down by hand: the k-th smallest of m p-values times (m - k + 1), never decreasing."""
    frame, _ = written(results)
    for _, model in frame.groupby(["base", "criterion"]):
        ordered = model.sort_values("pvalue")
        factors = np.arange(len(ordered), 0, -1)
        expected = np.minimum(np.maximum.accumulate(ordered["pvalue"] * factors), 1)
        np.testing.assert_allclose(ordered["adjusted_pvalue"], expected, rtol=1e-5)


def test_two_trials_that_agree_by_chance_say_nothing(tmp_path: Path) -> None:
    """Equal differences have a p-value of zero, be they two images or less than one."""
    settings = SMALL.model_copy(update={"trials": 2})
    images = {10: 0.9, 20: 0.2, 100: -2.0, 200: -0.2}
    differences = {
        classes: 100 * count / (MAP_IMAGES * classes / 200) for classes, count in images.items()
    }
    for cell in needs.table_inputs(settings, "map"):
        gained = cell.criterion == "e2mc"
        points = {
            ("random", classes, 1): 40 + cell.trial + gained * difference
            for classes, difference in differences.items()
        }
        write_points(tmp_path, cell, points)
    frame = gains(settings, tmp_path, needs.table_inputs(settings, "map"))
    found = frame[(frame["base"] == "vicreg-60") & (frame["criterion"] == "e2mc")]
    assert (found["adjusted_pvalue"] < 1e-6).all()
    assert found.loc[found["verdict"] == "hurts", "classes"].tolist() == [100]
    assert (found["verdict"] == "nothing can be said").sum() == 3


def test_a_missing_trial_is_left_out_of_both_arms(results: Path) -> None:
    gone = Cell("vicreg-60", "continued", 2, "subsets")
    (results / layout.METRICS.format(**gone._asdict())).unlink()
    frame, _ = written(results)
    counts = frame.set_index(["base", "criterion"])["n"]
    assert set(counts["vicreg-60", "e2mc"]) == {TRIALS - 1}
    assert set(counts["simsiam-60", "e2mc"]) == {TRIALS}


def test_a_map_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match="has no trial of both arms yet"):
        written(tmp_path)


def test_a_result_without_points_is_named(results: Path) -> None:
    cell = Cell("vicreg-60", "continued", 2, "subsets")
    path = results / layout.METRICS.format(**cell._asdict())
    path.write_text(
        json.dumps({"protocol": "subsets", "last": 1, "best": 1, "test_samples": MAP_IMAGES})
    )
    with pytest.raises(E2MCError, match="has no points of a map"):
        written(results)


def test_page_and_figure(results: Path) -> None:
    written(results)
    write_page(SMALL, results, "map", results / "page.html")
    page = (results / "page.html").read_text()
    assert "Where it helps" in page
    assert 'href="#evaluate/vicreg-60/e2mc/trial*/subsets"' in page
    figures = [results / f"figures/figure_map.{suffix}" for suffix in ("png", "pdf")]
    write_figure(SMALL, results, "figure_map", figures)
    assert all(figure.stat().st_size > 1000 for figure in figures)
    with pytest.raises(E2MCError, match=r"figure_map needs evaluation\.subsets"):
        write_figure(experiment(), results, "figure_map", figures)
