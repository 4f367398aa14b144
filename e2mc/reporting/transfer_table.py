"""Few-shot transfer: a line per model and classifier, a column per number of shots."""

from typing import Any

import pandas as pd

from e2mc.config import Experiment
from e2mc.reporting import findings, latex
from e2mc.reporting.accuracies import evaluation
from e2mc.reporting.names import METHODS, criterion_name
from e2mc.reporting.results import summarise

CLASSIFIERS = {"linear": "linear", "knn": "k-NN"}


def table_transfer(experiment: Experiment, scores: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Cells and LaTeX of the table; the data sets are groups of lines."""
    cells = pd.DataFrame(
        _cell(experiment, scores, base, criterion, protocol)
        for protocol in scores["protocol"].unique()
        for base, criterion in scores[["base", "criterion"]].drop_duplicates().to_numpy()
    )
    draws = experiment.evaluation.few_shot.draws
    caption = (
        r"Transfer with few labels: top-1 accuracy (\%) of linear classifiers and nearest "
        "neighbours on frozen features, by labelled images per class, averaged over "
        f"{draws} draws of these images; {findings.spread(cells)}"
        + findings.scale(experiment, scores)
    )
    shots = list(cells["shots"].unique())
    groups: dict[str, list[str]] = {}
    keys = ["dataset", "base", "criterion", "classifier"]
    for key, line in cells.groupby(keys, sort=False):
        dataset, base, criterion, classifier = map(str, key)
        found = [
            latex.estimate(cell["mean"], cell["standard_error"]) for cell in line.to_dict("records")
        ]
        names = [latex.escape(dataset), _model(experiment, base, criterion)]
        groups.setdefault(dataset, []).append(latex.row([*names, CLASSIFIERS[classifier], *found]))
    head = latex.row(["Data set", "Method", "Classifier", *map(str, shots)])
    columns = "lll" + "c" * len(shots)
    return cells, latex.table(caption, "table_transfer", columns, [head], list(groups.values()))


def _cell(
    experiment: Experiment, scores: pd.DataFrame, base: str, criterion: str, protocol: str
) -> dict[str, Any]:
    dataset, classifier, shots = protocol.split("-")
    entry = summarise(scores, base, criterion, protocol)
    return {
        "dataset": dataset,
        "base": base,
        "method": METHODS[experiment.bases[base].method],
        "criterion": criterion,
        "classifier": classifier,
        "shots": int(shots),
        "protocol": protocol,
        "mean": entry.mean,
        "standard_error": entry.standard_error,
        "n": entry.n,
        "note": entry.note,
        "evaluation": evaluation(base, criterion, protocol),
    }


def _model(experiment: Experiment, base: str, criterion: str) -> str:
    name = METHODS[experiment.bases[base].method]
    return name if criterion == "base" else f"{name} + {latex.name(criterion_name(criterion))}"
