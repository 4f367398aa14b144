from pathlib import Path

from e2mc.config import Experiment
from e2mc.plan import needs
from tests.reporting.synthetic_results import experiment, rows, write_results, written


def test_table_d2(settings: Experiment, tmp_path: Path) -> None:
    levels = {"grid-1-0": 48.0, "grid-0-1": 50.0, "e2mc": 53.5}
    cells = needs.table_inputs(settings, "table_d2")
    write_results(tmp_path, cells, lambda cell: levels.get(cell.criterion, 50.0))
    frame, tex = written(settings, tmp_path, "table_d2", tmp_path)
    reported = frame[(frame["beta"] == 1) & (frame["gamma"] == 25)].iloc[0]
    found = (reported["criterion"], reported["difference"], reported["published"])
    assert found == ("e2mc", 3.5, 55.27)
    body = rows(tex)
    # of all trials, as in Tables 1 and 3; the other rows are of one
    of_three = r"50.00 {\scriptsize$\pm$\,0.00}"
    assert body[0] == ["0", "0", of_three, of_three]
    assert body[1][2] == r"48.00 {\scriptsize$\downarrow$\,2.00}"
    assert body[2][2] == r"50.00 {\scriptsize$=$}"
    assert body[3][2].startswith("53.50") and r"$\uparrow$\,3.50" in body[3][2]
    assert "; the other rows are of a single trial." in tex
    assert "1 above and 1 below" in tex and "units of (0.01, 0.01)" in tex


def test_published_numbers_stand_beside_at_full_scale(tmp_path: Path) -> None:
    full = experiment(comparable=True)
    write_results(tmp_path, needs.table_inputs(full, "table_d2"), lambda cell: 50.0)
    _, tex = written(full, tmp_path, "table_d2", tmp_path)
    assert rows(tex)[0][2] == r"50.00 {\scriptsize$\pm$\,0.00} {\scriptsize(53.69)}"
    assert rows(tex)[3][2].startswith("50.00") and "(55.27)" in rows(tex)[3][2]
    assert "In parentheses: published." in tex
