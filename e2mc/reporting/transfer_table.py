"""Few-shot transfer: a row per model and classifier, a column per number of labelled images."""

from typing import Any

import pandas as pd

from e2mc.reporting import findings
from e2mc.reporting.accuracies import Line, estimate
from e2mc.reporting.names import METHODS, criterion_name
from e2mc.reporting.results import Evaluations, address, summarise
from e2mc.reporting.table import Cell, Column, Row, Table

CLASSIFIERS = {"linear": "linear", "knn": "k-NN"}


def cells(found: Evaluations) -> pd.DataFrame:
    """One line per cell, data set by data set."""
    models = found.scores[["base", "criterion"]].drop_duplicates().to_numpy()
    return pd.DataFrame(
        _cell(found, str(base), str(criterion), str(protocol))
        for protocol in found.scores["protocol"].unique()
        for base, criterion in models
    )


def _cell(found: Evaluations, base: str, criterion: str, protocol: str) -> dict[str, Any]:
    dataset, classifier, shots = protocol.split("-")
    entry = summarise(found.scores, base, criterion, protocol)
    return {
        "dataset": dataset,
        "base": base,
        "method": METHODS[found.experiment.bases[base].method],
        "criterion": criterion,
        "classifier": classifier,
        "shots": int(shots),
        "protocol": protocol,
        "mean": entry.mean,
        "standard_error": entry.standard_error,
        "n": entry.n,
        "note": entry.note,
        "evaluation": address(base, criterion, protocol),
    }


def lay_out(found: Evaluations, frame: pd.DataFrame) -> Table:
    """Data sets are groups of rows."""
    shots = list(frame["shots"].unique())
    groups: dict[str, list[Row]] = {}
    for _, lines in frame.groupby(["dataset", "base", "criterion", "classifier"], sort=False):
        by_shots = {line["shots"]: line for line in lines.to_dict("records")}
        first = next(iter(by_shots.values()))
        names = (first["dataset"], _model(first), CLASSIFIERS[first["classifier"]])
        accuracies = [_accuracy(by_shots[count]) for count in shots]
        groups.setdefault(first["dataset"], []).append(Row([*map(Cell, names), *accuracies]))
    columns = [Column("Data set"), Column("Method"), Column("Classifier")]
    columns += [Column(str(count), "c", "Labelled images per class") for count in shots]
    return Table(
        "table_transfer",
        "Transfer with few labels",
        _caption(found, frame),
        columns,
        list(groups.values()),
        headers=3,
    )


def _accuracy(line: Line) -> Cell:
    return Cell(estimate(line), link=line["evaluation"], note=line["note"])


def _model(line: Line) -> str:
    criterion = str(line["criterion"])
    added = "" if criterion == "base" else f" + {criterion_name(criterion)}"
    return f"{line['method']}{added}"


def _caption(found: Evaluations, frame: pd.DataFrame) -> str:
    draws = found.experiment.evaluation.few_shot.draws
    return (
        "Transfer with few labels: top-1 accuracy (%) of linear classifiers and nearest neighbours "
        f"on frozen features, by labelled images per class, averaged over {draws} draws of these "
        f"images; {findings.spread(frame)}" + findings.scale(found.experiment, found.scores)
    )
