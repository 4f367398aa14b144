"""A table of accuracies, models by protocols: its cells, and its LaTeX."""

from collections.abc import Sequence
from itertools import chain
from math import isnan, nan
from typing import Any, NamedTuple

import pandas as pd

from e2mc.config import Experiment
from e2mc.config.protocols import LINEAR, SEMISUP
from e2mc.plan import layout
from e2mc.reporting import latex
from e2mc.reporting.findings import runner_up, winner
from e2mc.reporting.names import METHODS, SHORT_PROTOCOLS, criterion_name
from e2mc.reporting.published import published
from e2mc.reporting.results import summarise

PUBLISHED = ("published", "published_standard_error", "published_mark")
"""Columns about the printed number beside a cell."""

Line = tuple[str, str]
"""(base, criterion)."""


class Accuracies(NamedTuple):
    """What distinguishes one table of accuracies from another.

    Attributes:
        name: as in the file names.
        groups: lines between two rules.
        protocols: columns.
        ranked_together: all groups are one for bold numbers, and the second is underlined
            (Table 3); else a group of lines is about one base model (Tables 1 and 2).
    """

    name: str
    groups: Sequence[Sequence[Line]]
    protocols: Sequence[str]
    ranked_together: bool = False


def accuracy_cells(experiment: Experiment, scores: pd.DataFrame, table: Accuracies) -> pd.DataFrame:
    """One line per cell, row by row; cells that the experiment does not ask for are left out."""
    lines = list(chain.from_iterable(table.groups))
    marks: dict[tuple[str, str, str], str] = {}
    for group in [lines] if table.ranked_together else table.groups:
        for protocol in table.protocols:
            entries = {
                (base, criterion, protocol): summarise(scores, base, criterion, protocol)
                for base, criterion in group
            }
            if table.ranked_together:
                marks |= dict.fromkeys(runner_up(entries), "underlined")
            marks |= dict.fromkeys(winner(entries), "bold")
    cells = []
    for base, criterion in lines:
        for protocol in table.protocols:
            entry = summarise(scores, base, criterion, protocol)
            if entry.expected:
                cells.append(
                    _identity(experiment, base, criterion, protocol)
                    | {key: getattr(entry, key) for key in ("mean", "standard_error", "n")}
                    | {"mark": marks.get((base, criterion, protocol), "")}
                    | published_columns(experiment, base, criterion, protocol)
                    | {"best_epoch_mean": entry.best, "note": entry.note}
                    | {"evaluation": evaluation(base, criterion, protocol)}
                )
    return pd.DataFrame(cells)


def evaluation(base: str, criterion: str, protocol: str) -> str:
    """Where in the results folder the evaluations behind a cell lie."""
    return layout.RESULT.format(base=base, criterion=criterion, trial="*", protocol=protocol)


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
    if printed is None:
        return dict(zip(PUBLISHED, (nan, nan, ""), strict=True))
    error = nan if printed.standard_error is None else printed.standard_error
    mark = printed.marker or printed.inferred or ""
    return dict(zip(PUBLISHED, (printed.mean, error, mark), strict=True))


def accuracy_latex(
    experiment: Experiment, table: Accuracies, cells: pd.DataFrame, caption: str
) -> str:
    """The table environment; published numbers stand in a second line if they are a target."""
    groups = [
        list(chain.from_iterable(_rows(experiment, table, cells, line) for line in group))
        for group in table.groups
    ]
    if experiment.comparable:
        caption += " Second lines, in parentheses: published"
        if cells["published_mark"].isin(["*", "dagger"]).any():
            caption += (
                r" ($*$: reproduced by its authors, different from the original; $\dagger$: "
                "so printed, its meaning is lost)"
            )
        caption += "."
    columns = "lr" + "c" * len(table.protocols)
    return latex.table(caption, table.name, columns, _head(table.protocols), groups)


def _head(protocols: Sequence[str]) -> list[str]:
    """Column heads; linear and semi-supervised shares under a common head each."""
    kinds = [protocol.split("-")[0] for protocol in protocols]
    titles = {one.stage: one.title for one in (LINEAR, SEMISUP)}
    spans, rules = ["", ""], ""
    for kind in dict.fromkeys(kinds):
        if kind in titles:
            first, width = kinds.index(kind) + 3, kinds.count(kind)
            spans.append(rf"\multicolumn{{{width}}}{{c}}{{{titles[kind]}}}")
            rules += rf"\cmidrule(lr){{{first}-{first + width - 1}}}"
    heads = latex.row(["Method", "Epochs", *(SHORT_PROTOCOLS[name] for name in protocols)])
    return [latex.row(spans), rules, heads] if rules else [heads]


def _rows(experiment: Experiment, table: Accuracies, cells: pd.DataFrame, line: Line) -> list[str]:
    base, criterion = line
    chosen = cells[(cells["base"] == base) & (cells["criterion"] == criterion)]
    by_protocol = {cell["protocol"]: cell for cell in chosen.to_dict("records")}
    label = latex.name(criterion_name(criterion))
    if criterion == "base":
        label = METHODS[experiment.bases[base].method]
    elif criterion != "continued":
        label = f"+ {label}"
    computed = [_computed(by_protocol.get(protocol)) for protocol in table.protocols]
    rows = [latex.row([label, str(chosen["epochs"].iloc[0]), *computed])]
    if experiment.comparable and chosen["published"].notna().any():
        asked = [by_protocol.get(protocol) for protocol in table.protocols]
        printed = [
            latex.printed(*(cell[key] for key in PUBLISHED)) if cell else "" for cell in asked
        ]
        rows.append(latex.row(["", "", *printed]))
    return rows


def _computed(cell: dict[Any, Any] | None) -> str:
    if cell is None:
        return latex.MISSING
    text = latex.estimate(cell["mean"], cell["standard_error"], cell["mark"])
    incomplete = cell["note"] and not isnan(cell["mean"])
    return text + (rf" {{\scriptsize($n={cell['n']}$)}}" if incomplete else "")
