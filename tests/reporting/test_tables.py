import re
from pathlib import Path

import pytest

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.plan import layout, needs
from e2mc.reporting import latex
from e2mc.reporting.significance import write_statistics
from e2mc.reporting.tables import laid_out, write_table
from tests.reporting.synthetic_results import all_cells, experiment, rows, write_results, written


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


@pytest.mark.parametrize("name", [*needs.tables(experiment()), "reproduction"])
def test_a_table_is_laid_out_once_for_paper_and_for_pages(
    name: str, settings: Experiment, results: Path, tmp_path: Path
) -> None:
    write_results(tmp_path, all_cells(settings))
    csv, tex = (tmp_path / file.format(table=name) for file in (layout.TABLE_CSV, layout.TABLE_TEX))
    write_table(settings, tmp_path, name, csv, tex)
    again = "\n".join(latex.render(table) for table in laid_out(settings, tmp_path, name))
    assert again == tex.read_text()


def test_every_row_of_a_table_has_a_cell_in_every_column(tmp_path: Path) -> None:
    full = experiment(comparable=True, trials=2)
    write_results(tmp_path, all_cells(full))
    write_statistics(full, tmp_path)
    names = set()
    for name in set(needs.pages(full)) - {"overview", *needs.STATISTICS_NAMES}:
        csv, tex = (
            tmp_path / file.format(table=name) for file in (layout.TABLE_CSV, layout.TABLE_TEX)
        )
        write_table(full, tmp_path, name, csv, tex)
    for name in set(needs.pages(full)) - {"overview"}:
        for table in laid_out(full, tmp_path, name):
            names.add(table.name)
            widths = {len(row.cells) for group in table.groups for row in group}
            assert widths == {len(table.columns)}
            assert table.title and table.caption.endswith(".")
    assert len(names) == 7 + 5, "every table has a name of its own"


def test_a_table_cannot_be_laid_out_before_it_is_written(
    settings: Experiment, results: Path
) -> None:
    with pytest.raises(E2MCError, match=r"table1\.csv does not exist: write it before its page"):
        laid_out(settings, results, "table1")
