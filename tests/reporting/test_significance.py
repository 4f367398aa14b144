from pathlib import Path

import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.reporting.results import read_scores
from e2mc.reporting.significance import significance, typical_trial, write_statistics
from tests.reporting.synthetic_results import all_cells, experiment, write_results


@pytest.fixture(scope="module")
def settings() -> Experiment:
    return experiment(bases={"vicreg-60": {"method": "vicreg", "epochs": 60}}, tables={})


@pytest.fixture
def results(tmp_path: Path, settings: Experiment) -> Path:
    write_results(tmp_path, all_cells(settings))
    return tmp_path


def test_every_arm_is_tested_against_base_and_continued(
    settings: Experiment, results: Path
) -> None:
    frame = significance(settings, results)["significance"]
    pairs = frame.groupby(["reference", "criterion"])["protocol"].apply(list).to_dict()
    linear = ["linear-1", "linear-10", "linear-100"]
    assert pairs[("base", "continued")] == linear
    assert pairs[("continued", "e2mc")] == linear
    assert set(pairs[("base", "e2mc")]) == {*linear, "semisup-1", "semisup-10", "inat18", "voc07"}
    against_base = frame[frame["reference"] == "base"]
    assert against_base["holm_pvalue"].to_numpy(float) == pytest.approx(
        multipletests(against_base["permutation_pvalue"], method="holm")[1]
    )
    assert set(against_base["family_size"]) == {10}
    row = frame[(frame["reference"] == "continued")].iloc[0]
    assert (row["gained"], row["lost"]) == (8, 0)
    assert row["permutation_pvalue"] == pytest.approx(stats.binomtest(8, 8).pvalue)


def test_classes_are_the_items_of_voc07(settings: Experiment, results: Path) -> None:
    frame = significance(settings, results)["significance"]
    row = frame[frame["protocol"] == "voc07"].iloc[0]
    assert (row["n"], row["note"], row["reference_trial"]) == (5, "n counts classes", 0)
    assert pd.isna(row["mcnemar_statistic"]) and row["difference"] > 0


def test_trials(settings: Experiment, results: Path) -> None:
    frame = significance(settings, results)["trials"]
    row = frame[(frame["criterion"] == "e2mc") & (frame["protocol"] == "voc07")].iloc[0]
    assert (row["trials"], row["smallest_pvalue"], row["permutation_pvalue"]) == (3, 0.25, 0.25)
    assert row["note"] == "the reference is one deterministic number"
    assert row["difference"] == pytest.approx(2.25)


def test_the_typical_trial_is_nearest_the_mean_at_the_fewest_labels(tmp_path: Path) -> None:
    levels = {"linear-1": (50.0, 54.0, 51.0), "linear-10": (60.0, 60.0, 69.0)}
    cells = [Cell("vicreg-60", "e2mc", trial, name) for trial in range(3) for name in levels]
    write_results(tmp_path, cells, lambda cell: levels[cell.protocol][cell.trial])
    scores = read_scores(tmp_path, cells)
    assert typical_trial(scores, "vicreg-60", "e2mc", "linear-1") == 2
    assert typical_trial(scores, "vicreg-60", "e2mc", "linear-10") == 2
    assert typical_trial(scores[scores["trial"] < 2], "vicreg-60", "e2mc", "linear-10") == 0
    assert typical_trial(scores, "vicreg-60", "base", "linear-10") is None


def test_predictions_for_another_test_set_are_refused(settings: Experiment, results: Path) -> None:
    path = results / "evaluate/vicreg-60/e2mc/trial1/linear-10/predictions.csv"
    path.write_text(path.read_text().replace("image7.png", "other7.png"))
    with pytest.raises(E2MCError, match=r"image7\.png.*different samples"):
        significance(settings, results)


def test_what_was_not_evaluated_is_said(settings: Experiment, tmp_path: Path) -> None:
    cells = [c for c in needs.statistics_inputs(settings) if c.protocol == "linear-1"]
    write_results(tmp_path, cells)
    write_statistics(settings, tmp_path)
    frame = pd.read_csv(tmp_path / "statistics/significance.csv")
    empty = frame[frame["protocol"] != "linear-1"]
    assert set(empty["note"]) == {"not evaluated"} and empty["permutation_pvalue"].isna().all()
    trials = pd.read_csv(tmp_path / "statistics/trials.csv")
    assert "trial 2 missing" in trials[trials["protocol"] == "linear-10"]["note"].iloc[0]
