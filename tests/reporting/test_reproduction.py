from pathlib import Path

import pandas as pd
import pytest

from e2mc.config import Experiment
from e2mc.reporting.tables import write_table
from tests.reporting.synthetic_results import all_cells, experiment, rows, write_results, written


def test_reproduction_verdicts(tmp_path: Path) -> None:
    full = experiment(comparable=True, trials=2)
    exact = {("e2mc", "linear-1"): 54.54, ("e2mc", "linear-10"): 66.82 + 0.35}
    cells = [cell for cell in all_cells(full) if cell.base == "vicreg-60"]
    write_results(tmp_path, cells, lambda cell: exact.get((cell.criterion, cell.protocol), 40.0))
    write_table(full, tmp_path, "reproduction", tmp_path / "r.csv", tmp_path / "r.tex")
    frame = pd.read_csv(tmp_path / "r.csv").set_index(["row", "criterion", "protocol"])
    assert len(frame) == 97
    same = frame.loc[("vicreg-1000", "e2mc", "linear-1")]
    assert (same["verdict"], same["z"], same["difference"]) == ("reproduced", 0, 0)
    other = frame.loc[("vicreg-1000", "e2mc", "linear-10")]
    assert other["z"] == pytest.approx(0.35 / (0.05 * 2**0.5), rel=1e-4)
    assert other["verdict"] == "differs"
    assert frame.loc[("swav-800", "e2mc", "linear-1"), "verdict"] == "missing"
    away = frame.loc[("swav-400", "e2mc", "linear-1")]
    assert away["verdict"] == "missing" and away["note"].startswith("no base of this experiment")
    tex = (tmp_path / "r.tex").read_text()
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == 5


def test_small_experiments_are_not_called_reproductions(
    settings: Experiment, results: Path, tmp_path: Path
) -> None:
    write_table(settings, results, "reproduction", tmp_path / "r.csv", tmp_path / "r.tex")
    verdicts = pd.read_csv(tmp_path / "r.csv")["verdict"].value_counts()
    assert dict(verdicts) == {"not comparable at this scale": 80, "missing": 17}


def test_a_mean_over_fewer_trials_says_so(tmp_path: Path) -> None:
    full = experiment(comparable=True)
    cells = [cell for cell in all_cells(full) if cell.trial != 1]
    write_results(tmp_path, cells)
    _, tex = written(full, tmp_path, "reproduction", tmp_path)
    computed = rows(tex)[0][3]
    assert computed.startswith("50.00 ") and computed.endswith(r"{\scriptsize($n=2$)}")
