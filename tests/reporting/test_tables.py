import re
from pathlib import Path

import pandas as pd
import pytest

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.reporting.summary import summary
from e2mc.reporting.tables import write_table
from tests.reporting.synthetic_results import all_cells, experiment, percent, write_results


@pytest.fixture(scope="module")
def settings() -> Experiment:
    return experiment()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, settings: Experiment) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, all_cells(settings))
    return folder


def written(
    settings: Experiment, results: Path, table: str, folder: Path
) -> tuple[pd.DataFrame, str]:
    csv, tex = folder / f"{table}.csv", folder / f"{table}.tex"
    write_table(settings, results, table, csv, tex)
    return pd.read_csv(csv, keep_default_na=False, na_values=[""]), tex.read_text()


def rows(tex: str) -> list[list[str]]:
    body = tex.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in lines]


def test_table1(settings: Experiment, results: Path, tmp_path: Path) -> None:
    cells, tex = written(settings, results, "table1", tmp_path)
    e2mc = cells[(cells["base"] == "vicreg-60") & (cells["criterion"] == "e2mc")]
    assert list(e2mc["protocol"]) == [
        *("linear-1", "linear-10", "linear-100", "semisup-1", "semisup-10")
    ]
    first = e2mc.iloc[0]
    assert (first["mean"], first["n"], first["mark"]) == (52.0, 3, "bold")
    assert first["standard_error"] == pytest.approx(0.25 / 3**0.5, abs=1e-6)
    assert (first["published"], first["published_standard_error"]) == (54.54, 0.05)
    body = rows(tex)
    assert [line[0] for line in body] == [
        *("VICReg", "continued", "+ E$^2$MC", "SwAV", "continued", "+ E$^2$MC"),
        *("SimSiam", "continued", "+ E$^2$MC"),
    ]
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
    assert frame["mark"].isna().all()
    assert r"\textbf" not in tex and "none is bold" in tex and "no clear difference" in tex
    assert "0 and clearly below in 0 of 9 comparisons" in summary(settings, tmp_path)


def test_a_loss_is_called_a_loss(settings: Experiment, tmp_path: Path) -> None:
    def accuracy(cell: Cell) -> float:
        return percent(cell) - (5 if cell.criterion == "e2mc" else 0)

    write_results(tmp_path, needs.table_inputs(settings, "table1"), accuracy)
    frame, tex = written(settings, tmp_path, "table1", tmp_path)
    assert frame["mark"].isna().all() or "bold" not in set(
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
    assert list(frame["criterion"].unique()) == [
        *("base", "continued", "vcreg", "mmcr", "auh", "e2mc", "mec")
    ]
    assert set(frame["criterion"][frame["mark"] == "bold"]) == {"e2mc"}
    assert set(frame["criterion"][frame["mark"] == "underlined"]) == {"mec"}
    assert frame["published"][frame["criterion"] == "mec"].isna().all()
    assert tex.index("MEC &", tex.index("E$^2$MC &")) > tex.rindex(r"\midrule")
    assert r"\underline{55.25}" in tex


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
    assert "None of 5 differences is significant at 0.05 after Holm" in tex
    assert "no permutation test can reach a $p$ below 0.25" in tex
    assert rows(tex)[0][3] == "$+0.020$"


def test_table_d2(settings: Experiment, tmp_path: Path) -> None:
    levels = {"grid-1-0": 48.0, "grid-0-1": 50.0, "e2mc": 53.5}
    cells = needs.table_inputs(settings, "table_d2")
    write_results(tmp_path, cells, lambda cell: levels.get(cell.criterion, 50.0))
    frame, tex = written(settings, tmp_path, "table_d2", tmp_path)
    reported = frame[(frame["beta"] == 1) & (frame["gamma"] == 25)].iloc[0]
    assert (reported["criterion"], reported["difference"], reported["published"]) == (
        *("e2mc", 3.5),
        55.27,
    )
    body = rows(tex)
    assert body[0] == ["0", "0", "50.00", "50.00"]
    assert body[1][2] == r"48.00 {\scriptsize$\downarrow$\,2.00}"
    assert body[2][2] == r"50.00 {\scriptsize$=$}"
    assert body[3][2] == r"53.50 {\scriptsize$\uparrow$\,3.50}"
    assert "1 above and 1 below" in tex and "units of (0.01, 0.01)" in tex


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


def test_same_results_same_bytes_and_balanced_latex(
    settings: Experiment, results: Path, tmp_path: Path
) -> None:
    for table in needs.tables(settings):
        first = written(settings, results, table, tmp_path / "a")[1]
        assert first == written(settings, results, table, tmp_path / "b")[1]
        for extension in ("csv", "tex"):
            pair = [(tmp_path / f"{x}/{table}.{extension}").read_bytes() for x in "ab"]
            assert pair[0] == pair[1] and b"\r" not in pair[0]
        assert first.count("{") == first.count("}") and first.count("$") % 2 == 0
        width = len(re.search(r"begin\{tabular\}\{(\w+)\}", first).group(1))
        assert {len(line) for line in rows(first)} == {width}
        assert first.isascii()


def test_tables_that_the_experiment_does_not_have(tmp_path: Path) -> None:
    bare = experiment(tables={})
    with pytest.raises(E2MCError, match=r"'synthetic' has no table3.*It has table1, table2"):
        write_table(bare, tmp_path, "table3", tmp_path / "a.csv", tmp_path / "a.tex")
