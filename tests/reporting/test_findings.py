from math import nan, sqrt
from pathlib import Path

import pandas as pd
import pytest

from e2mc.config import Experiment
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.reporting import findings
from e2mc.reporting.findings import Finding
from e2mc.reporting.results import Entry, read_scores, summarise
from tests.reporting.synthetic_results import experiment, write_results

NO_SCORES = pd.DataFrame({"n": [0]})


def entry(mean: float, error: float = 0.1) -> Entry:
    return Entry(mean, error, 3, 3, mean, 0.1, "")


def test_a_paired_difference(tmp_path: Path) -> None:
    levels = {"continued": (50.0, 52.0, 54.0), "e2mc": (51.0, 54.0, 54.0)}
    cells = [Cell("b", arm, trial, "linear-1") for arm in levels for trial in range(3)]
    write_results(tmp_path, cells, lambda cell: levels[cell.criterion][cell.trial])
    found = findings.compare_arms(
        read_scores(tmp_path, cells), "b", "continued", "e2mc", "linear-1"
    )
    # differences 1, 2, 0: mean 1, standard deviation 1; the arms themselves scatter by 2
    assert found == Finding("b", "linear-1", 1.0, pytest.approx(1 / sqrt(3)), 3, found.verdict)
    assert found.verdict == "no clear difference"


def test_a_clause_says_difference_error_and_verdict(settings: Experiment) -> None:
    found = Finding("vicreg-60", "linear-1", -0.5, 0.25, 3, "clearly below")
    assert findings.clause(settings, found) == "VICReg-60 $-0.50$ ± 0.25 (clearly below)"
    single = found._replace(standard_error=nan, trials=1)
    assert findings.clause(settings, single) == "VICReg-60 $-0.50$ (clearly below)"
    none = found._replace(difference=nan)
    assert findings.clause(settings, none) == "VICReg-60: not evaluated"


def test_the_headline_is_about_every_base_and_share(settings: Experiment, results: Path) -> None:
    scores = read_scores(results, needs.table_inputs(settings, "table1"))
    found = findings.headline(settings, scores)
    shares = ["linear-1", "linear-10", "linear-100"]
    assert [one.protocol for one in found] == 3 * shares
    assert list(dict.fromkeys(one.base for one in found)) == list(settings.bases)
    assert {one.difference for one in found} == {2.0} and len(found) == 9


def test_the_scale_is_said_unless_it_is_that_of_the_paper() -> None:
    scores = pd.DataFrame({"n": [400, 300, 400, 0]})
    said = findings.scale(experiment(), scores)
    assert "`synthetic` (12-pixel images, 300, 400 of them for testing)" in said
    assert findings.scale(experiment(comparable=True), scores) == ""
    assert "none of them" in findings.scale(experiment(), NO_SCORES)


@pytest.mark.parametrize(
    ("n", "error", "expected"),
    [
        ([3, 3], [0.1, 0.2], "mean ± standard error (ddof 1) over 3 trials."),
        ([2, 3], [0.1, 0.2], "mean ± standard error (ddof 1) over 2 or 3 trials."),
        ([1, 0], [nan, nan], "a single trial, no standard errors."),
        ([0], [nan], "nothing is evaluated yet."),
    ],
)
def test_what_the_plus_minus_is(n: list[int], error: list[float], expected: str) -> None:
    assert findings.spread(pd.DataFrame({"n": n, "standard_error": error})) == expected


def test_only_the_clearly_highest_wins() -> None:
    levels = {"a": (50, 52, 54), "b": (51, 53.1, 55), "c": (51.1, 53, 54.9), "d": ()}
    lines = [
        ("m", name, trial, "linear-1", score, score, 1000, "")
        for name, scores in levels.items()
        for trial, score in enumerate(scores)
    ]
    columns = ["base", "criterion", "trial", "protocol", "last", "best", "n", "note"]
    scores = pd.DataFrame(lines, columns=columns)

    def winner(*criteria: str) -> list[str]:
        entries = {
            ("m", name, "linear-1"): summarise(scores, "m", name, "linear-1") for name in criteria
        }
        return [criterion for _, criterion, _ in findings.winner(scores, entries)]

    assert winner("a", "b") == ["b"]  # 1.03 above in every trial, though the trials scatter by 2
    assert winner("b", "c") == []
    assert winner("a", "b", "c") == []
    assert winner("b", "d") == []


def test_the_second_highest_unless_two_share_it() -> None:
    assert findings.runner_up({"a": entry(50), "b": entry(51), "c": entry(49)}) == ["a"]
    assert findings.runner_up({"a": entry(50.001), "b": entry(51), "c": entry(50.002)}) == []
    assert findings.runner_up({"b": entry(51), "missing": entry(nan)}) == []
