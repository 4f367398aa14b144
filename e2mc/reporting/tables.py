"""The tables of an experiment: the numbers of each as CSV, laid out once, rendered as LaTeX."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import write_text
from e2mc.plan import needs
from e2mc.plan.recorded import refuse_other_settings
from e2mc.reporting import (
    accuracy_tables,
    latex,
    reproduction,
    statistics_tables,
    table_d1,
    table_d2,
    transfer_table,
)
from e2mc.reporting.accuracies import Arrangement, accuracy_cells, accuracy_table
from e2mc.reporting.frames import read_csv, to_csv
from e2mc.reporting.results import Evaluations, evaluations
from e2mc.reporting.table import Table

Numbers = Callable[[Evaluations], pd.DataFrame]
LayOut = Callable[[Evaluations, pd.DataFrame], Sequence[Table]]


class Definition(NamedTuple):
    """A table of the paper.

    Attributes:
        numbers: its CSV, a line for each cell.
        lay_out: from the lines of the CSV to what is shown.
    """

    numbers: Numbers
    lay_out: LayOut


def _accuracies(
    arrange: Callable[[Evaluations], Arrangement],
    caption: Callable[[Evaluations, pd.DataFrame], str],
) -> Definition:
    def lay_out(found: Evaluations, cells: pd.DataFrame) -> Sequence[Table]:
        sentences = caption(found, cells)
        return [accuracy_table(found.experiment, arrange(found), cells, sentences)]

    return Definition(lambda found: accuracy_cells(found, arrange(found)), lay_out)


def _single(lay_out: Callable[[Evaluations, pd.DataFrame], Table]) -> LayOut:
    return lambda found, frame: [lay_out(found, frame)]


_DEFINITIONS = {
    "table1": _accuracies(accuracy_tables.table1, accuracy_tables.table1_caption),
    "table2": _accuracies(accuracy_tables.table2, accuracy_tables.table2_caption),
    "table3": _accuracies(accuracy_tables.table3, accuracy_tables.table3_caption),
    "table_d1": Definition(table_d1.cells, _single(table_d1.lay_out)),
    "table_d2": Definition(table_d2.cells, _single(table_d2.lay_out)),
    "table_transfer": Definition(transfer_table.cells, _single(transfer_table.lay_out)),
    "reproduction": Definition(reproduction.cells, reproduction.lay_out),
}
_LAYOUTS = {
    **{name: definition.lay_out for name, definition in _DEFINITIONS.items()},
    "significance": _single(statistics_tables.significance_table),
    "trials": _single(statistics_tables.trials_table),
}


def write_table(experiment: Experiment, results: Path, table: str, csv: Path, tex: Path) -> None:
    """Write one table of the paper.

    The CSV has a line for each cell with the published number beside it, the LaTeX file is a
    complete table environment, or several. Every caption is made from the numbers.

    Args:
        experiment: the experiment.
        results: its results folder.
        table: one of `needs.TABLE_NAMES`, or `reproduction`.
        csv: destination.
        tex: destination.

    Raises:
        E2MCError: no such table in the paper or in this experiment, or a result that is damaged or
            was made with other settings.
    """
    cells = needs.table_inputs(experiment, table)
    if not cells:
        raise E2MCError(
            f"the experiment '{experiment.name}' has no {table}: set `tables` and `data` in its "
            f"configuration. It has {', '.join(needs.tables(experiment))}."
        )
    refuse_other_settings(experiment, results, cells)
    found = evaluations(experiment, results, cells)
    definition = _DEFINITIONS[table]
    frame = definition.numbers(found)
    write_text(csv, to_csv(frame))
    wide = experiment.tables.two_columns
    rendered = [latex.render(one, two_columns=wide) for one in definition.lay_out(found, frame)]
    write_text(tex, "\n".join(rendered))


def laid_out(experiment: Experiment, results: Path, name: str) -> Sequence[Table]:
    """A table or the tests of an experiment, from the CSV file that was written.

    Args:
        experiment: the experiment.
        results: its results folder.
        name: as for :func:`write_table`, or `significance` or `trials`.

    Raises:
        E2MCError: the CSV file does not exist, or a result is damaged.
    """
    (source,) = needs.page_sources(name)
    if not (results / source).exists():
        raise E2MCError(f"{results / source} does not exist: write it before its page")
    found = evaluations(experiment, results, needs.page_inputs(experiment, name))
    return _LAYOUTS[name](found, read_csv(results / source))
