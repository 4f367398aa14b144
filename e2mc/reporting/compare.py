"""Significance of models against a base, from prediction files alone (``e2mc compare``)."""

import csv as csv_module
import io
import json
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from e2mc.errors import E2MCError
from e2mc.files import write_text
from e2mc.reporting.latex import escape
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


Row = dict[str, Any]
SIGNIFICANT = 0.05


def run(
    base: Path,
    models: Sequence[Path],
    columns: Mapping[str, str] | None = None,
    csv: Path | None = None,
    latex: Path | None = None,
    as_json: bool = False,
) -> None:
    """Print the comparison of each model with the base; write it as CSV and LaTeX on request."""
    rows = compare_prediction_files(base, models, columns)
    print(render(rows, "json" if as_json else "screen"))
    if csv is not None:
        write_text(csv, render(rows, "csv"))
    if latex is not None:
        write_text(latex, render(rows, "latex"))


def compare_prediction_files(
    base: Path, models: Sequence[Path], columns: Mapping[str, str] | None = None
) -> list[Row]:
    """Compare each model's predictions with the base's, sample by sample.

    Args:
        base: a file that :func:`e2mc.reporting.predictions.read_predictions` can read.
        models: files of the same kind about the same samples, in any order of rows. One file is
            held in memory beside the base: two of ten million rows need less than 2 GB.
        columns: the files' names for our columns, where they have others.

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
    reference = read_predictions(Path(base), columns)
    rows = [_row(reference, read_predictions(Path(model), columns)) for model in models]
    adjusted = holm([row["permutation_pvalue"] for row in rows])
    return [row | {"holm_pvalue": float(p)} for row, p in zip(rows, adjusted, strict=True)]


def verdict(row: Row) -> str:
    """What one comparison says, in a sentence: clear if the Holm-adjusted p-value is below 5 %."""
    points = f"{100 * row['difference']:+z.2f}"
    numbers = (
        f"{points} points, 95 % interval {100 * row['interval_low']:+z.2f} to "
        f"{100 * row['interval_high']:+z.2f}, p = {_pvalue(row['holm_pvalue'])}"
    ).replace("p = <", "p < ")
    if row["holm_pvalue"] >= SIGNIFICANT:
        return f"No clear difference between {row['model']} and {row['base']} ({numbers})."
    better = "better" if row["difference"] > 0 else "worse"
    return f"{row['model']} is {better} than {row['base']} ({numbers})."


def render(rows: list[Row], form: Literal["screen", "csv", "latex", "json"]) -> str:
    """Text of a comparison: full precision as CSV and JSON, rounded and in per cent otherwise.

    What is not defined is empty in CSV and null in JSON, where null also stands for infinity.
    """
    if form == "csv":
        text = io.StringIO()
        writer = csv_module.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: "" if value != value else value for name, value in row.items()} for row in rows
        )
        return text.getvalue()
    if form == "json":
        finite = [
            {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()}
            | {"verdict": verdict(row)}
            for row in rows
        ]
        return json.dumps(finite, indent=2)
    columns = _columns(rows[0])
    cells = [[cell(row) for cell in columns.values()] for row in rows]
    if form == "latex":
        return _latex(list(columns), cells)
    level = rows[0]["base_accuracy" if "gained" in rows[0] else "base_map"]
    metric = list(columns)[2].removesuffix(" %")
    lines = [f"base: {rows[0]['base']}, {metric} {100 * level:.2f} %"]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (list(columns), *cells):
        lines.append("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)))
    return "\n".join([*lines, _note(rows), *map(verdict, rows)])


def _latex(heads: list[str], cells: list[list[str]]) -> str:
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"\toprule",
        " & ".join(_LATEX_HEADERS.get(head, head) for head in heads) + r" \\",
        r"\midrule",
    ]
    for model, *numbers in cells:
        shown = [f"${number}$".replace("inf", r"\infty") for number in numbers]
        lines.append(" & ".join([escape(model), *shown]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _row(base: Classified | Scored, model: Classified | Scored) -> Row:
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
            f"{base.table.path} and {model.table.path} are of different kinds: one has a "
            "prediction for each sample, the other a score for each sample and class"
        )
    fields: Row = result._asdict()
    low, high = fields.pop("interval")
    names = {"model": str(model.table.path), "base": str(base.table.path), "n": fields.pop("n")}
    every = names | values | fields | {"interval_low": low, "interval_high": high}
    return {name: v.item() if isinstance(v, np.generic) else v for name, v in every.items()}


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
            model.table,
            int(order[differing[0]]),
            f"its label is another one in {base.table.path}, line {differing[0] + 2} "
            f"({differing.size} labels differ in all)",
        )
    return order


def _refuse_samples(base: Classified | Scored, model: Classified | Scored) -> None:
    for one, other in ((base, model), (model, base)):
        alone = np.flatnonzero(~np.isin(one.keys, other.keys))
        if alone.size:
            refuse(
                one.table,
                int(alone[0]),
                f"not in {other.table.path} ({alone.size} of {one.keys.size} rows are not): the "
                "files are about different samples",
            )


def _precisions(truth: Scored, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average precision of each class."""
    if len(truth.classes) < 2:
        raise E2MCError(
            f"{truth.table.path}: class {truth.classes[0]!r} is the only one; the test needs at "
            "least two"
        )
    by_class = np.argsort(truth.class_index, kind="stable")
    groups = np.split(by_class, np.cumsum(np.bincount(truth.class_index))[:-1])
    precisions = []
    for name, rows in zip(truth.classes, groups, strict=True):
        labels = truth.labels[rows]
        for value, kind in ((1, "present (1)"), (-1, "absent (-1)")):
            if not np.any(labels == value):
                raise E2MCError(
                    f"{truth.table.path}: class {name!r} has no sample labelled {kind}: its "
                    "average precision says nothing"
                )
        precisions.append(voc_average_precision(labels, scores[rows]))
    return np.array(precisions)


Cell = Callable[[Row], str]

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


def _columns(first: Row) -> dict[str, Cell]:
    """Heads and cells of the rounded table."""
    classified = "gained" in first
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


def _note(rows: list[Row]) -> str:
    if "gained" in rows[0]:
        return CLASSIFICATION_NOTE.format(models=len(rows))
    return MULTI_LABEL_NOTE.format(models=len(rows), resamples=rows[0]["resamples"])
