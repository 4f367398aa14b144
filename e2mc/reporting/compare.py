"""Significance of models against a base, from prediction files alone (``e2mc compare``)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from e2mc.errors import E2MCError
from e2mc.files import write_text
from e2mc.reporting.predictions import Classified, Scored, read_predictions, refuse
from e2mc.statistics import compare_paired, compare_scores, holm
from e2mc.statistics.average_precision import voc_average_precision

CLASSIFICATION_NOTE = (
    "n images; difference of top-1 accuracies with Tango's 95 % score interval; permutation: exact "
    "two-sided sign-flip test; McNemar without continuity correction; d: paired Cohen's d; Holm: "
    "permutation p-values adjusted for the {models} comparison(s)."
)
MULTI_LABEL_NOTE = (
    "n classes; difference of mAP with its 95 % BCa bootstrap interval over classes; permutation: "
    "two-sided sign-flip test over classes, {resamples} resamples; d: paired Cohen's d; Holm: "
    "permutation p-values adjusted for the {models} comparison(s)."
)


def run(
    base: Path, models: Sequence[Path], csv: Path | None = None, latex: Path | None = None
) -> None:
    """Print the comparison of each model with the base; write it as CSV and LaTeX on request."""
    table = compare_prediction_files(base, models)
    print(render(table, "screen"))
    if csv is not None:
        write_text(csv, render(table, "csv"))
    if latex is not None:
        write_text(latex, render(table, "latex"))


def compare_prediction_files(base: Path, models: Sequence[Path]) -> pd.DataFrame:
    """Compare each model's predictions with the base's, sample by sample.

    Args:
        base: a file that :func:`e2mc.reporting.predictions.read_predictions` can read.
        models: files of the same kind about the same samples, in any order of rows. One file is
            held in memory beside the base: two of ten million rows need less than 2 GB.

    Returns:
        A row for each model. Accuracies and their difference are fractions.

        Classification: model, base, n, base_accuracy, accuracy, and the fields of
        :class:`e2mc.statistics.PairedComparison`. Multi-label: model, base, n (classes), base_map,
        map, and the fields of :class:`e2mc.statistics.ScoreComparison`, on the average precision of
        each class. Both: interval as interval_low and interval_high, and holm_pvalue, the
        permutation p-values adjusted for this family.

    Raises:
        E2MCError: a file cannot be read as predictions, or two are not about the same samples with
            the same labels; the message names file, line and sample.
    """
    if not models:
        raise E2MCError("there is no model to compare with the base")
    reference = read_predictions(Path(base))
    rows = [_row(reference, read_predictions(Path(model))) for model in models]
    table = pd.DataFrame(rows)
    table["holm_pvalue"] = holm(table["permutation_pvalue"].to_numpy())
    return table


def render(table: pd.DataFrame, form: Literal["screen", "csv", "latex"]) -> str:
    """Text of a comparison: full precision as CSV, rounded and in per cent otherwise."""
    if form == "csv":
        return str(table.to_csv(index=False, lineterminator="\n"))
    shown = pd.DataFrame(
        {head: table.apply(cell, axis=1) for head, cell in _columns(table).items()}
    )
    if form == "screen":
        first = table.iloc[0]
        level = first["base_accuracy"] if "gained" in table else first["base_map"]
        metric = shown.columns[2].removesuffix(" %")
        heading = f"base: {first['base']}, {metric} {100 * level:.2f} %"
        return f"{heading}\n{shown.to_string(index=False)}\n{_note(table)}"
    numbers = shown.columns[1:]
    shown[numbers] = shown[numbers].map(lambda cell: f"${cell}$".replace("inf", r"\infty"))
    style = shown.style.hide(axis="index").format(escape="latex", subset=["model"])
    style.relabel_index([_LATEX_HEADERS.get(head, head) for head in shown.columns], axis="columns")
    return str(style.to_latex(hrules=True, column_format="l" + "r" * len(numbers)))


def _row(base: Classified | Scored, model: Classified | Scored) -> dict[str, Any]:
    if isinstance(base, Classified) and isinstance(model, Classified):
        order = _aligned(base, model)
        correct = model.correct[order]
        result: Any = compare_paired(base.correct, correct)
        values = {"base_accuracy": base.correct.mean(), "accuracy": correct.mean()}
    elif isinstance(base, Scored) and isinstance(model, Scored):
        order = _aligned(base, model)
        before, after = (_precisions(base, s) for s in (base.scores, model.scores[order]))
        result = compare_scores(before, after)
        values = {"base_map": before.mean(), "map": after.mean()}
    else:
        raise E2MCError(
            f"{base.path} and {model.path} are of different kinds: one has a prediction for each "
            "sample, the other a score for each sample and class"
        )
    fields: dict[str, Any] = result._asdict()
    low, high = fields.pop("interval")
    names = {"model": str(model.path), "base": str(base.path), "n": fields.pop("n")}
    return names | values | fields | {"interval_low": low, "interval_high": high}


def _aligned(base: Classified | Scored, model: Classified | Scored) -> NDArray[np.intp]:
    """Rows of the model in the base's order, after checking samples and labels."""
    if np.array_equal(base.keys, model.keys):
        order = np.arange(base.keys.size)
    else:
        order = np.empty(base.keys.size, dtype=np.intp)
        by_base, by_model = np.argsort(base.keys), np.argsort(model.keys)
        if not np.array_equal(base.keys[by_base], model.keys[by_model]):
            _refuse_samples(base, model)
        order[by_base] = by_model
    differing = np.flatnonzero(base.labels != model.labels[order])
    if differing.size:
        refuse(
            model.path,
            int(order[differing[0]]),
            f"its label is another one in {base.path}, line {differing[0] + 2} "
            f"({differing.size} labels differ in all)",
        )
    return order


def _refuse_samples(base: Classified | Scored, model: Classified | Scored) -> None:
    for one, other in ((base, model), (model, base)):
        alone = np.flatnonzero(~np.isin(one.keys, other.keys))
        if alone.size:
            refuse(
                one.path,
                int(alone[0]),
                f"not in {other.path} ({alone.size} of {one.keys.size} rows are not): the files "
                "are about different samples",
            )


def _precisions(truth: Scored, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average precision of each class."""
    if len(truth.classes) < 2:
        raise E2MCError(
            f"{truth.path}: class {truth.classes[0]!r} is the only one; the test needs at least two"
        )
    by_class = np.argsort(truth.class_index, kind="stable")
    groups = np.split(by_class, np.cumsum(np.bincount(truth.class_index))[:-1])
    precisions = []
    for name, rows in zip(truth.classes, groups, strict=True):
        labels = truth.labels[rows]
        for value, kind in ((1, "present (1)"), (-1, "absent (-1)")):
            if not np.any(labels == value):
                raise E2MCError(
                    f"{truth.path}: class {name!r} has no sample labelled {kind}: its average "
                    "precision says nothing"
                )
        precisions.append(voc_average_precision(labels, scores[rows]))
    return np.array(precisions)


Cell = Callable[["pd.Series[Any]"], str]

_LATEX_HEADERS = {
    "accuracy %": r"Accuracy (\%)",
    "mAP %": r"mAP (\%)",
    "difference": r"$\Delta$",
    "95 % interval": r"95\,\% interval",
    "chi2": r"$\chi^2$",
    "permutation p": "Permutation $p$",
    "McNemar p": "McNemar $p$",
    "Holm p": "Holm $p$",
    "d": "$d$",
    "n": "$n$",
    "model": "Model",
    "gained": "Gained",
    "lost": "Lost",
}


def _columns(table: pd.DataFrame) -> dict[str, Cell]:
    """Heads and cells of the rounded table."""
    classified = "gained" in table
    value = "accuracy" if classified else "map"
    columns: dict[str, Cell] = {
        "model": lambda row: str(row["model"]),
        "n": lambda row: f"{row['n']:d}",
        "accuracy %" if classified else "mAP %": lambda row: f"{100 * row[value]:.2f}",
        "difference": lambda row: f"{100 * row['difference']:+z.2f}",
        "95 % interval": lambda row: (
            f"[{100 * row['interval_low']:+z.2f}, {100 * row['interval_high']:+z.2f}]"
        ),
    }
    if classified:
        columns |= {
            "gained": lambda row: f"{row['gained']:d}",
            "lost": lambda row: f"{row['lost']:d}",
            "chi2": lambda row: f"{row['mcnemar_statistic']:.2f}",
            "McNemar p": lambda row: _pvalue(row["mcnemar_pvalue"]),
        }
    return columns | {
        "permutation p": lambda row: _pvalue(row["permutation_pvalue"]),
        "Holm p": lambda row: _pvalue(row["holm_pvalue"]),
        "d": lambda row: f"{row['cohens_d']:z.2f}",
    }


def _pvalue(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _note(table: pd.DataFrame) -> str:
    if "gained" in table:
        return CLASSIFICATION_NOTE.format(models=len(table))
    return MULTI_LABEL_NOTE.format(models=len(table), resamples=table["resamples"].iloc[0])
