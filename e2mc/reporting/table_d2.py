"""Table D.2: accuracy over a grid of the weights of the two terms."""

from math import nan

import pandas as pd

from e2mc.config.experiment import Ablation
from e2mc.config.stages import grid_criteria
from e2mc.reporting import findings
from e2mc.reporting.accuracies import Line, estimate
from e2mc.reporting.names import PROTOCOLS
from e2mc.reporting.published import published
from e2mc.reporting.results import Evaluations, address, summarise
from e2mc.reporting.table import Cell, Column, Estimate, Row, Table


def cells(found: Evaluations) -> pd.DataFrame:
    """One line per cell, row by row; differences are to neither term, the first row."""
    experiment, _, scores = found
    ablation = _ablation(found)
    row = experiment.bases[ablation.base].published
    lines = []
    for (beta, gamma), criterion in zip(ablation.grid, grid_criteria(experiment), strict=True):
        for protocol in map(str, scores["protocol"].unique()):
            entry = summarise(scores, ablation.base, criterion, protocol)
            printed = published(row, f"grid-{beta:g}-{gamma:g}", protocol)
            lines.append(
                {
                    "beta": beta,
                    "gamma": gamma,
                    "criterion": criterion,
                    "protocol": protocol,
                    "mean": entry.mean,
                    "standard_error": entry.standard_error,
                    "n": entry.n,
                    "published": nan if printed is None else printed.mean,
                    "note": entry.note,
                    "evaluation": address(ablation.base, criterion, protocol),
                }
            )
    frame = pd.DataFrame(lines)
    first = frame.groupby("protocol")["mean"].transform("first")
    frame.insert(list(frame).index("published"), "difference", frame["mean"] - first)
    return frame


def lay_out(found: Evaluations, frame: pd.DataFrame) -> Table:
    """A row per setting, a column per share of the labels."""
    protocols = list(frame["protocol"].unique())
    heads = [f"Linear, {PROTOCOLS[name].removeprefix('linear, ')}" for name in protocols]
    rows = [
        Row(
            [
                *(Cell(f"{weight:g}") for weight in weights),
                *(_cell(line, first=number == 0) for line in lines.to_dict("records")),
            ]
        )
        for number, (weights, lines) in enumerate(frame.groupby(["beta", "gamma"], sort=False))
    ]
    return Table(
        "table_d2",
        "Table D.2: weights of the two terms",
        _caption(found, frame),
        [Column("$β$", "r"), Column("$γ$", "r"), *(Column(head, "c") for head in heads)],
        [rows[:1], rows[1:]],
        headers=2,
        published="beside" if found.experiment.comparable else "",
    )


def _cell(line: Line, *, first: bool) -> Cell:
    printed = Estimate(line["published"])
    return Cell(
        estimate(line),
        link=line["evaluation"],
        published=None if pd.isna(printed.mean) else printed,
        difference=nan if first else line["difference"],
        note=line["note"],
    )


def _caption(found: Evaluations, frame: pd.DataFrame) -> str:
    ablation = _ablation(found)
    unit = ", ".join(f"{weight:g}" for weight in ablation.unit)
    units = f" in units of ({unit})" if set(ablation.unit) != {1.0} else ""
    return (
        f"Weights $β$ of the entropy and $γ$ of the covariance{units}: top-1 accuracy "
        f"(%) of linear classifiers, {findings.base_name(found.experiment, ablation.base)}; "
        f"{_spread(frame)} {findings.views(found.experiment)} "
        "Arrows: difference to the first row. Nothing is bold: "
        f"{len(ablation.grid)} settings are searched without a test. {_counts(frame)}"
        + findings.scale(found.experiment, found.scores)
    )


def _spread(frame: pd.DataFrame) -> str:
    text = findings.spread(frame)
    if (frame["n"] == 1).any() and (frame["n"] > 1).any():
        return f"{text[:-1]}; the other rows are of a single trial."
    return text


def _counts(frame: pd.DataFrame) -> str:
    clauses = []
    for protocol, column in frame.groupby("protocol", sort=False):
        others = column["difference"].iloc[1:].dropna().round(9)
        above, below = int((others > 0).sum()), int((others < 0).sum())
        clauses.append(f"{PROTOCOLS[str(protocol)]}: {above} above and {below} below")
    return f"Of the {len(frame) // len(clauses) - 1} other rows, {'; '.join(clauses)} the first."


def _ablation(found: Evaluations) -> Ablation:
    ablation = found.experiment.tables.table_d2
    assert ablation is not None
    return ablation
