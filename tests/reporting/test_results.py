import json
from math import isnan, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from e2mc.errors import E2MCError
from e2mc.plan.needs import Cell
from e2mc.reporting.results import clear_sign, paired_trials, read_scores, summarise
from tests.reporting.synthetic_results import write_results

CELLS = [
    Cell("vicreg-60", name, trial, "linear-1") for name in ("base", "e2mc") for trial in range(3)
]


def test_mean_and_standard_error_over_trials(tmp_path: Path) -> None:
    write_results(tmp_path, CELLS, lambda cell: (50.0, 51.0, 54.0)[cell.trial])
    entry = summarise(read_scores(tmp_path, CELLS), "vicreg-60", "base", "linear-1")
    deviations = (50 - 155 / 3) ** 2 + (51 - 155 / 3) ** 2 + (54 - 155 / 3) ** 2
    assert entry.mean == pytest.approx(155 / 3)
    assert entry.standard_error == pytest.approx(sqrt(deviations / 2 / 3))
    assert (entry.n, entry.expected, entry.note, entry.resolution) == (3, 3, "", 0.25)
    assert entry.best == pytest.approx(155 / 3 + 1)


def test_a_missing_trial_is_said_and_counted(tmp_path: Path) -> None:
    write_results(tmp_path, CELLS[:2] + CELLS[3:], lambda cell: 50.0 + cell.trial)
    scores = read_scores(tmp_path, CELLS)
    entry = summarise(scores, "vicreg-60", "base", "linear-1")
    assert (entry.mean, entry.n, entry.expected) == (50.5, 2, 3)
    assert entry.note == "trial 2 missing"
    pairs = paired_trials(scores, "vicreg-60", "base", "e2mc", "linear-1")
    assert list(pairs.index) == [0, 1]


@pytest.mark.parametrize("score", [float("nan"), None])
def test_a_score_that_is_not_a_number_is_not_averaged(tmp_path: Path, score: float | None) -> None:
    write_results(tmp_path, CELLS, lambda cell: 50.0 + cell.trial)
    path = tmp_path / "evaluate/vicreg-60/base/trial0/linear-1/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"last": score}))
    entry = summarise(read_scores(tmp_path, CELLS), "vicreg-60", "base", "linear-1")
    assert (entry.mean, entry.n) == (51.5, 2)
    assert entry.note == "trial 0: the score is not a number"


def test_nothing_evaluated_is_an_empty_cell(tmp_path: Path) -> None:
    scores = read_scores(tmp_path, CELLS)
    entry = summarise(scores, "vicreg-60", "base", "linear-1")
    assert isnan(entry.mean) and entry.n == 0 and "trial 1 missing" in entry.note
    assert summarise(scores, "vicreg-60", "mmcr", "linear-1").note == "not evaluated"


def test_files_that_are_no_results(tmp_path: Path) -> None:
    write_results(tmp_path, CELLS[:1])
    path = tmp_path / "evaluate/vicreg-60/base/trial0/linear-1/metrics.json"
    path.write_text(path.read_text().replace("linear-1", "linear-10"))
    with pytest.raises(E2MCError, match="holds the protocol 'linear-10'"):
        read_scores(tmp_path, CELLS[:1])
    path.write_text('{"protocol": "linear-1"}')
    with pytest.raises(E2MCError, match=r"metrics.json is not the result .*test_samples"):
        read_scores(tmp_path, CELLS[:1])


@pytest.mark.parametrize("change", [{"test_samples": 200}, {"test_set": "other"}])
def test_scores_on_different_test_sets_are_not_averaged(tmp_path: Path, change: object) -> None:
    write_results(tmp_path, CELLS)
    paths = [tmp_path / f"evaluate/vicreg-60/e2mc/trial{k}/linear-1/metrics.json" for k in range(3)]
    for path in paths:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"test_set": "one"}))
    read_scores(tmp_path, CELLS)
    paths[2].write_text(json.dumps(json.loads(paths[2].read_text()) | change))
    with pytest.raises(E2MCError, match=r"trial2/linear-1/metrics.json are about different test"):
        read_scores(tmp_path, CELLS)


def test_clear_is_a_paired_t_test_and_more_than_one_image() -> None:
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(300):
        shared = rng.normal(50, 5, size=4)  # what the trials of both arms share does not count
        model = shared + rng.normal(0.5, 0.5, size=4)
        pairs = pd.DataFrame({"reference": shared, "model": model})
        test = ttest_rel(model, shared)
        expected = int(np.sign(test.statistic)) if test.pvalue < 0.05 else 0
        assert clear_sign(pairs, 0.0) == expected
        turned = pd.DataFrame({"reference": model, "model": shared})
        assert clear_sign(turned, 0.0) == -expected
        found.add(expected)
    assert found == {0, 1}
    exact = pd.DataFrame({"reference": [50.0, 60.0, 70.0], "model": [50.25, 60.25, 70.25]})
    assert clear_sign(exact, 0.2) == 1
    assert clear_sign(exact, 0.25) == 0  # one image
    assert clear_sign(exact[:1], 0.0) == 0  # one trial


def test_the_demos_contradiction_is_none() -> None:
    """A difference of 6.5 of its standard errors is clear, one of 2.1 is not (n = 3: 4.30)."""
    for mean, error, expected in ((5.17, 0.79, 1), (0.33, 0.16, 0), (-5.17, 0.79, -1)):
        differences = mean + error * 3**0.5 * np.array([-1.0, 0.0, 1.0])
        pairs = pd.DataFrame({"reference": np.zeros(3), "model": differences})
        assert clear_sign(pairs, 0.125) == expected
