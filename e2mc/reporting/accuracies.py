"""A table of accuracies, models by protocols: its numbers, and how they are laid out."""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import isnan, nan
from typing import Any, NamedTuple

import pandas as pd

from e2mc.config import Experiment
from e2mc.config.protocols import LINEAR, SEMISUP
from e2mc.reporting.findings import runner_up, winner
from e2mc.reporting.names import METHODS, SHORT_PROTOCOLS, criterion_name
from e2mc.reporting.published import published
from e2mc.reporting.results import Evaluations, address, summarise
from e2mc.reporting.table import Cell, Column, Estimate, Row, Table

Line = Mapping[Any, Any]
"""A line of a CSV file."""

Model = tuple[str, str]
"""(base, criterion)."""


class Arrangement(NamedTuple):
    """What distinguishes one table of accuracies from another.

    Attributes:
        name: as in the file names.
        title: its heading.
        groups: models between two rules.
        protocols: columns.
        ranked_together: all groups are one for bold numbers, and the second is underlined
            (Table 3); else a group is about one base model (Tables 1 and 2).
    """

    name: str
    title: str
    groups: Sequence[Sequence[Model]]
    protocols: Sequence[str]
    ranked_together: bool = False


def accuracy_cells(found: Evaluations, arrangement: Arrangement) -> pd.DataFrame:
    """One line per cell, row by row; cells that the experiment does not ask for are left out."""
    experiment, _, scores = found
    models = list(chain.from_iterable(arrangement.groups))
    marks: dict[tuple[str, str, str], str] = {}
    for group in [models] if arrangement.ranked_together else arrangement.groups:
        for protocol in arrangement.protocols:
            entries = {
                (base, criterion, protocol): summarise(scores, base, criterion, protocol)
                for base, criterion in group
            }
            if arrangement.ranked_together:
                marks |= dict.fromkeys(runner_up(entries), "underlined")
            marks |= dict.fromkeys(winner(scores, entries), "bold")
    cells = []
    for base, criterion in models:
        for protocol in arrangement.protocols:
            entry = summarise(scores, base, criterion, protocol)
            if entry.expected:
                cells.append(
                    _identity(experiment, base, criterion, protocol)
                    | {key: getattr(entry, key) for key in ("mean", "standard_error", "n")}
                    | {"mark": marks.get((base, criterion, protocol), "")}
                    | published_columns(experiment, base, criterion, protocol)
                    | {"best_epoch_mean": entry.best, "note": entry.note}
                    | {"evaluation": address(base, criterion, protocol)}
                )
    return pd.DataFrame(cells)


def _identity(experiment: Experiment, base: str, criterion: str, protocol: str) -> dict[str, Any]:
    settings = experiment.bases[base]
    more = 0 if criterion == "base" else experiment.training(base, scratch=False).epochs
    return {
        "base": base,
        "method": METHODS[settings.method],
        "criterion": criterion,
        "epochs": settings.epochs + more,
        "protocol": protocol,
    }


def published_columns(
    experiment: Experiment, base: str, criterion: str, protocol: str
) -> dict[str, Any]:
    """The printed number of the row that `base` stands for; its mark as printed or inferred."""
    printed = published(experiment.bases[base].published, criterion, protocol)
    error = nan if printed is None or printed.standard_error is None else printed.standard_error
    return {
        "published": nan if printed is None else printed.mean,
        "published_standard_error": error,
        "published_mark": "" if printed is None else printed.marker or printed.inferred or "",
    }


def estimate(line: Line, prefix: str = "") -> Estimate:
    """A mean over trials of one line."""
    trials = int(line[f"{prefix}n"])
    return Estimate(line[f"{prefix}mean"], line[f"{prefix}standard_error"], trials)


def printed(line: Line, prefix: str = "") -> Estimate | None:
    """What :func:`published_columns` say, None if the paper has no such number."""
    mean = line[f"{prefix}published"]
    return None if isnan(mean) else Estimate(mean, line[f"{prefix}published_standard_error"])


def footnote(line: Line, prefix: str = "") -> str:
    """The mark beside a printed number; inferred readings are in the CSV file alone."""
    return {"*": "*", "dagger": "†"}.get(line[f"{prefix}published_mark"], "")


def accuracy_table(
    experiment: Experiment, arrangement: Arrangement, cells: pd.DataFrame, caption: str
) -> Table:
    """Lay out `cells`, the lines of :func:`accuracy_cells`."""
    by_model: dict[Model, dict[str, Line]] = {}
    for line in cells.to_dict("records"):
        by_model.setdefault((line["base"], line["criterion"]), {})[line["protocol"]] = line
    groups = [
        [_row(model, by_model[model], arrangement.protocols) for model in group]
        for group in arrangement.groups
    ]
    kinds = {one.stage: one.title for one in (LINEAR, SEMISUP)}
    columns = [Column("Method"), Column("Epochs", "r")]
    columns += [
        Column(SHORT_PROTOCOLS[name], "c", kinds.get(name.split("-")[0], ""))
        for name in arrangement.protocols
    ]
    return Table(
        arrangement.name,
        arrangement.title,
        caption,
        columns,
        groups,
        published="below" if experiment.comparable else "",
    )


def _row(model: Model, lines: Mapping[str, Line], protocols: Sequence[str]) -> Row:
    _, criterion = model
    first = next(iter(lines.values()))
    label = criterion_name(criterion)
    if criterion == "base":
        label = first["method"]
    elif criterion != "continued":
        label = f"+ {label}"
    accuracies = [_accuracy(lines.get(protocol)) for protocol in protocols]
    return Row([Cell(label), Cell(str(first["epochs"])), *accuracies])


def _accuracy(line: Line | None) -> Cell:
    if line is None:
        return Cell(Estimate(nan))
    return Cell(
        estimate(line),
        mark=line["mark"],
        link=line["evaluation"],
        published=printed(line),
        footnote=footnote(line),
        note=line["note"],
    )
