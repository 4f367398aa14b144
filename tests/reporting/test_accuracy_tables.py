"""Tables 1, 2 and 3, from known accuracies to LaTeX."""

from pathlib import Path

import pytest

from e2mc.config import Experiment
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.reporting.summary import summary
from tests.reporting.synthetic_results import experiment, percent, rows, write_results, written


def test_table1(settings: Experiment, results: Path, tmp_path: Path) -> None:
    cells, tex = written(settings, results, "table1", tmp_path)
    e2mc = cells[(cells["base"] == "vicreg-60") & (cells["criterion"] == "e2mc")]
    shares = "linear-1 linear-10 linear-100 semisup-1 semisup-10"
    assert list(e2mc["protocol"]) == shares.split()
    first = e2mc.iloc[0]
    assert (first["mean"], first["n"], first["mark"]) == (52.0, 3, "bold")
    assert first["standard_error"] == pytest.approx(0.25 / 3**0.5, abs=1e-6)
    assert (first["published"], first["published_standard_error"]) == (54.54, 0.05)
    body = rows(tex)
    arms = ["continued", "+ E$^2$MC"]
    assert [line[0] for line in body] == ["VICReg", *arms, "SwAV", *arms, "SimSiam", *arms]
    assert [line[1] for line in body[:3]] == ["60", "70", "70"]
    assert body[2][2].startswith(r"\textbf{52.00}")
    assert body[1][5:] == ["--", "--"] and body[8][5:] == ["--", "--"]
    assert r"VICReg-60 $+2.00$ $\pm$ 0.00 (clearly above)" in tex
    assert "not at the scale of the paper" in tex and "54.54" not in tex


def test_every_cell_is_beside_the_published_number_at_full_scale(
    results: Path, tmp_path: Path
) -> None:
    cells, tex = written(experiment(comparable=True), results, "table1", tmp_path)
    assert cells["published"].notna().all()
    assert r"(54.54$\pm$0.05)" in tex and r"(54.53$\pm$0.12$^{*}$)" in tex
    assert "scale of the paper" not in tex


def test_nothing_is_claimed_where_nothing_is_clear(settings: Experiment, tmp_path: Path) -> None:
    cells = needs.table_inputs(settings, "table1")
    write_results(tmp_path, cells, lambda cell: 50 + cell.trial)
    frame, tex = written(settings, tmp_path, "table1", tmp_path)
    assert (frame["mark"] == "").all()
    assert r"\textbf" not in tex and "none is bold" in tex and "no clear difference" in tex
    assert "0 and clearly below in 0 of 9 comparisons" in summary(settings, tmp_path)


def test_a_loss_is_called_a_loss(settings: Experiment, tmp_path: Path) -> None:
    def accuracy(cell: Cell) -> float:
        return percent(cell) - (5 if cell.criterion == "e2mc" else 0)

    write_results(tmp_path, needs.table_inputs(settings, "table1"), accuracy)
    frame, tex = written(settings, tmp_path, "table1", tmp_path)
    assert (frame["mark"] == "").all() or "bold" not in set(
        frame["mark"][frame["criterion"] == "e2mc"]
    )
    assert r"VICReg-60 $-3.00$ $\pm$ 0.00 (clearly below)" in tex
    text = summary(settings, tmp_path)
    assert "1 %: -3.00 +- 0.00 (n=3, clearly below)" in text
    assert "clearly below in 9 of 9 comparisons at this scale, which is not the paper's" in text


def test_missing_evaluations_are_honestly_empty(settings: Experiment, tmp_path: Path) -> None:
    cells = [
        cell
        for cell in needs.table_inputs(settings, "table1")
        if cell.base == "vicreg-60" and not (cell.criterion == "e2mc" and cell.trial == 1)
    ]
    write_results(tmp_path, cells)
    frame, tex = written(settings, tmp_path, "table1", tmp_path)
    swav = frame[frame["base"] == "swav-60"]
    assert swav["mean"].isna().all() and (swav["n"] == 0).all()
    e2mc = frame[(frame["base"] == "vicreg-60") & (frame["criterion"] == "e2mc")]
    assert set(e2mc["n"]) == {2} and set(e2mc["note"]) == {"trial 1 missing"}
    assert "($n=2$)" in rows(tex)[2][2]
    assert set(rows(tex)[3][2:]) == {"--"}


def test_table2(settings: Experiment, results: Path, tmp_path: Path) -> None:
    cells, tex = written(settings, results, "table2", tmp_path)
    voc = cells[cells["protocol"] == "voc07"].set_index(["base", "criterion"])
    assert voc.loc[("vicreg-60", "base"), "n"] == 1
    assert voc.loc[("vicreg-60", "e2mc"), "mark"] == "bold"
    assert [line[0] for line in rows(tex)[:3]] == ["VICReg", "+ E$^2$MC", "SwAV"]


def test_table3_orders_ranks_and_separates(settings: Experiment, tmp_path: Path) -> None:
    levels = {"e2mc": 60.0, "mec": 55.0, "auh": 52.0}
    cells = needs.table_inputs(settings, "table3")
    write_results(tmp_path, cells, lambda c: levels.get(c.criterion, 50) + 0.25 * c.trial)
    frame, tex = written(settings, tmp_path, "table3", tmp_path)
    order = "base continued vcreg mmcr auh e2mc mec"
    assert list(frame["criterion"].unique()) == order.split()
    assert set(frame["criterion"][frame["mark"] == "bold"]) == {"e2mc"}
    assert set(frame["criterion"][frame["mark"] == "underlined"]) == {"mec"}
    assert frame["published"][frame["criterion"] == "mec"].isna().all()
    assert tex.index("MEC &", tex.index("E$^2$MC &")) > tex.rindex(r"\midrule")
    assert r"\underline{55.25}" in tex
