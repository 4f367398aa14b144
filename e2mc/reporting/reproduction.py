"""Every published number against the number that this experiment computed."""

from math import hypot, isnan, nan
from typing import Any

import pandas as pd

from e2mc.config import Experiment
from e2mc.config.stages import grid_criteria
from e2mc.reporting import findings
from e2mc.reporting.accuracies import Line, footnote
from e2mc.reporting.names import METHODS, PROTOCOLS, criterion_name
from e2mc.reporting.published import Published, published_cells
from e2mc.reporting.results import Entry, Evaluations, address, summarise
from e2mc.reporting.table import Cell, Column, Estimate, Row, Statistic, Table

SMALLEST_STANDARD_ERROR = 0.05
"""Per cent. Published numbers are rounded and standard errors of three trials scatter, so none is
taken to be smaller; it also stands in where none is printed or computed."""

LARGEST_Z = 3.0
"""Beyond it a cell differs: 4 % of differences of two means of three trials each (t, 4 degrees of
freedom), and at least 0.21 points."""

GRID = "grid-"
"""Begins the names of the rows of Table D.2."""

VERDICTS = ("reproduced", "differs", "not comparable at this scale", "missing")


def cells(found: Evaluations) -> pd.DataFrame:
    """One line per published cell of Tables 1, 2, 3 and D.2.

    `z` is the difference over both standard errors combined, each at least
    :data:`SMALLEST_STANDARD_ERROR`. The verdict is ``reproduced`` if it is within
    :data:`LARGEST_Z`, else ``differs``; ``not comparable at this scale`` for an experiment whose
    target the published numbers are not; ``missing`` without a computed number. Table D.1 is of
    single models and has its published numbers beside it in ``table_d1.csv``.
    """
    experiment, _, scores = found
    stands_for = {base.published: name for name, base in experiment.bases.items()}
    lines = []
    for (row, criterion, protocol), printed in published_cells().items():
        base = stands_for.get(row)
        ours = criterion if base is None else _configured(experiment, base, criterion)
        entry = None if base is None else summarise(scores, base, ours, protocol)
        lines.append(
            {"row": row, "criterion": criterion, "protocol": protocol, "base": base or ""}
            | _compare(experiment, printed, entry)
            | {"evaluation": address(base, ours, protocol) if base else ""}
        )
    return pd.DataFrame(lines)


def _configured(experiment: Experiment, base: str, criterion: str) -> str:
    """The name under which a row of Table D.2 was trained."""
    ablation = experiment.tables.table_d2
    if not criterion.startswith(GRID) or ablation is None or ablation.base != base:
        return criterion
    printed = [f"grid-{beta:g}-{gamma:g}" for beta, gamma in ablation.grid]
    return dict(zip(printed, grid_criteria(experiment), strict=True)).get(criterion, criterion)


def _compare(experiment: Experiment, printed: Published, entry: Entry | None) -> dict[str, Any]:
    error = nan if printed.standard_error is None else printed.standard_error
    line: dict[str, Any] = {
        "published": printed.mean,
        "published_standard_error": error,
        "published_mark": printed.marker or printed.inferred or "",
    }
    if entry is None or isnan(entry.mean):
        note = "no base of this experiment stands for the row" if entry is None else entry.note
        empty = dict.fromkeys(("computed", "standard_error", "difference", "z"), nan)
        return line | empty | {"n": 0, "verdict": "missing", "note": note}
    difference = entry.mean - printed.mean
    z = difference / hypot(*(_at_least(value) for value in (entry.standard_error, error)))
    verdict = "reproduced" if abs(z) <= LARGEST_Z else "differs"
    return line | {
        "computed": entry.mean,
        "standard_error": entry.standard_error,
        "difference": difference,
        "z": z,
        "n": entry.n,
        "verdict": verdict if experiment.comparable else "not comparable at this scale",
        "note": entry.note,
    }


def _at_least(error: float) -> float:
    return SMALLEST_STANDARD_ERROR if isnan(error) else max(error, SMALLEST_STANDARD_ERROR)


def lay_out(found: Evaluations, frame: pd.DataFrame) -> list[Table]:
    """One table per base model of the paper, and one for the grid of Table D.2."""
    grid = frame["criterion"].str.startswith(GRID)
    parts = [(str(row), part) for row, part in frame[~grid].groupby("row", sort=False)]
    tables = [_table(found, f"the paper's {_row_name(row)}", row, part) for row, part in parts]
    return [*tables, _table(found, "Table D.2 of the paper", "table-d2", frame[grid])]


def _table(found: Evaluations, what: str, name: str, part: pd.DataFrame) -> Table:
    counts = part["verdict"].value_counts()
    verdicts = ", ".join(
        f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts
    )
    caption = (
        f"Reproduction of {what} (%): {verdicts}. $z$: difference over both standard errors, "
        f"each at least {SMALLEST_STANDARD_ERROR:g}; reproduced: $|z|≤{LARGEST_Z:g}$."
        + findings.scale(found.experiment, found.scores)
    )
    groups: dict[str, list[Row]] = {}
    for line in part.to_dict("records"):
        criterion = line["criterion"]
        group = GRID if criterion.startswith(GRID) else criterion
        groups.setdefault(group, []).append(_row(line))
    columns = [
        Column("Criterion"),
        Column("Protocol"),
        Column("Published", "c"),
        Column("Computed", "c"),
        Column("$Δ$", "r"),
        Column("$z$", "r"),
        Column("Verdict"),
    ]
    return Table(
        f"reproduction-{name}",
        "Reproduction of the published accuracies",
        caption,
        columns,
        list(groups.values()),
        headers=2,
        dense=True,
    )


def _row_name(row: str) -> str:
    method, epochs = row.split("-")
    return f"{METHODS[method]} ({epochs} epochs)"


def _row(line: Line) -> Row:
    criterion = line["criterion"]
    display = criterion_name(criterion)
    if criterion.startswith(GRID):
        beta, gamma = criterion.removeprefix(GRID).split("-")
        display = f"$β={beta}$, $γ={gamma}$"
    link = line["evaluation"]
    published = Estimate(line["published"], line["published_standard_error"])
    computed = Estimate(line["computed"], line["standard_error"], int(line["n"]))
    return Row(
        [
            Cell(display),
            Cell(PROTOCOLS[line["protocol"]]),
            Cell(published, footnote=footnote(line)),
            Cell(computed, link=link, note=line["note"]),
            Cell(Statistic(line["difference"], sign=True), link=link),
            Cell(Statistic(line["z"], 1), link=link),
            Cell(line["verdict"].removesuffix(" at this scale"), link=link),
        ]
    )
