from pathlib import Path

import pytest

from e2mc.config import Experiment
from e2mc.plan import needs
from tests.reporting.synthetic_results import experiment, rows, write_results, written


def test_table_d1(settings: Experiment, results: Path, tmp_path: Path) -> None:
    frame, tex = written(settings, results, "table_d1", tmp_path)
    row = frame.iloc[0]
    # 8 more of 400 images right, 2 of the first lost and 2 of the last gained
    assert (row["gained"], row["lost"], row["n"]) == (10, 2, 400)
    assert row["difference"] == pytest.approx(0.02)
    assert row["mcnemar_statistic"] == pytest.approx(64 / 12, rel=1e-5)
    assert row["holm_pvalue"] == pytest.approx(5 * row["permutation_pvalue"], rel=1e-4)
    assert row["across_smallest_pvalue"] == 0.25
    assert (row["published_mcnemar_chi2"], row["published_mcnemar_p"]) == (108.79, "<0.001")
    assert (row["same_trial_lowest"], row["same_trial_highest"]) == pytest.approx((0.02, 0.02))
    assert r"No difference within a trial has another sign than $\Delta$." in tex
    assert "None of 5 differences is significant at 0.05 after Holm" in tex
    assert "no permutation test can reach a $p$ below 0.25" in tex
    assert rows(tex)[0][3] == "$+0.020$"


def test_differences_within_a_trial_stand_beside_those_of_the_trials_nearest_the_means(
    settings: Experiment, tmp_path: Path
) -> None:
    """The base's trials 50, 52, 54 and the model's 59, 51, 54 %: trial 1 against trial 2."""
    percent = {"base": (50.0, 52.0, 54.0), "e2mc": (59.0, 51.0, 54.0)}
    cells = needs.table_inputs(settings, "table_d1")
    write_results(tmp_path, cells, lambda cell: percent.get(cell.criterion, (0.0,) * 3)[cell.trial])
    frame, tex = written(settings, tmp_path, "table_d1", tmp_path / "tables")
    row = frame.iloc[0]
    assert (row["reference_trial"], row["trial"]) == (1, 2)
    assert row["same_trial_differences"] == "+0.0900 -0.0100 +0.0000"
    assert (row["same_trial_lowest"], row["same_trial_highest"]) == pytest.approx((-0.01, 0.09))
    assert rows(tex)[0][3] == "$+0.020$"
    assert "5 of 5 rows test models of different trials" in tex
    assert r"another sign than $\Delta$ for linear, 1\,\% ($-0.010$ to $+0.090$); linear" in tex


def test_published_numbers_stand_in_second_lines_with_their_marks_explained(
    results: Path, tmp_path: Path
) -> None:
    _, tex = written(experiment(comparable=True), results, "table_d1", tmp_path)
    semisupervised = rows(tex)[7]
    assert semisupervised[1] == r"{\scriptsize(54.53$\pm$0.12$^{*}$)}"
    assert semisupervised[4] == r"{\scriptsize($<$0.001)}"
    assert semisupervised[8] == ""
    assert "published ($*$: reproduced by its authors" in tex


def test_a_base_without_a_published_test_has_no_second_lines(tmp_path: Path, results: Path) -> None:
    own = experiment(comparable=True, tables={"table_d1": "swav-60"})
    frame, tex = written(own, results, "table_d1", tmp_path)
    assert set(frame["published_mcnemar_p"]) == {""}
    # the means have published numbers, the tests have none
    assert rows(tex)[1][1].startswith(r"{\scriptsize(") and rows(tex)[1][3:] == [""] * 6
