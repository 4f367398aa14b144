"""The map: gain of a criterion over continued training, by classes and by labels per class."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import read_json
from e2mc.plan import layout
from e2mc.plan.needs import Cell as Evaluation
from e2mc.reporting.drawing import WIDTH
from e2mc.reporting.findings import base_name
from e2mc.reporting.names import METHODS, criterion_name
from e2mc.reporting.results import LEVEL, Evaluations, address
from e2mc.reporting.table import THIN, Cell, Column, Estimate, Row, Table
from e2mc.statistics import compare_trials, holm, trial_interval

POINT = ["subset", "classes", "shots"]
"""What identifies a point of the map, beside the model."""

VERDICTS = ("nothing can be said", "helps", "hurts")
"""By sign of the gain, where it is clear."""

SUBSETS = {
    "random": "random classes",
    "related": "related classes",
    "coarse": "all classes, coarse labels",
}


def cells(found: Evaluations) -> pd.DataFrame:
    """One line per base, criterion and point."""
    columns = ["base", "criterion", "trial", "protocol"]
    evaluations = [Evaluation(*line) for line in found.scores[columns].itertuples(index=False)]
    return gains(found.experiment, found.results, evaluations)


def gains(experiment: Experiment, results: Path, evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Gain over continued training at every point, from the trials that both arms have.

    The verdict is that of the paired t-test at `LEVEL` after Holm's correction over all points of
    one criterion on one base: the probability of a single false one among them is at most that.
    A difference of one test image or less is never clear, as in the tables: where few trials agree
    by chance, accuracies that are counts of images have no scatter for the test to see.

    Args:
        experiment: the experiment.
        results: its results folder.
        evaluations: the models' results on the subsets; those that are missing are left out.

    Returns:
        Columns base, method, criterion, subset, classes, shots, n (pairs of trials), continued
        (mean accuracy, per cent), mean (gain, points), standard_error, low and high (95 %
        interval), pvalue, resolution (what one test image is worth, points), adjusted_pvalue,
        verdict and evaluation.

    Raises:
        E2MCError: no trial has both arms, or a result is damaged.
    """
    points = pd.concat([_points(results, cell) for cell in evaluations], ignore_index=True)
    lines: list[dict[str, Any]] = []
    for (base, criterion), model in points.groupby(["base", "criterion"], sort=False):
        if criterion == "continued":
            continue
        reference = points[(points["base"] == base) & (points["criterion"] == "continued")]
        pairs = reference.merge(model, on=[*POINT, "trial"], suffixes=("_reference", "_model"))
        family = [_line(point, one) for point, one in pairs.groupby(POINT, sort=False)]
        adjusted = holm([1.0 if isnan(line["pvalue"]) else line["pvalue"] for line in family])
        method = METHODS[experiment.bases[str(base)].method]
        for line, pvalue in zip(family, adjusted, strict=True):
            seen = pvalue <= LEVEL and abs(line["mean"]) > line["resolution"]
            sign = 0 if not seen else 1 if line["mean"] > 0 else -1
            lines.append(
                {"base": base, "method": method, "criterion": criterion, **line}
                | {"adjusted_pvalue": float(pvalue), "verdict": VERDICTS[sign]}
                | {"evaluation": address(str(base), str(criterion), evaluations[0].protocol)}
            )
    if not lines:
        raise E2MCError(f"{results} has no trial of both arms yet: run `snakemake map` first")
    return pd.DataFrame(lines)


def _points(results: Path, cell: Evaluation) -> pd.DataFrame:
    path = results / layout.METRICS.format(**cell._asdict())
    columns = [*POINT, "top1"]
    if not path.exists():
        return pd.DataFrame(columns=["base", "criterion", "trial", *columns, "resolution"])
    try:
        metrics = read_json(path)
        found = pd.DataFrame(metrics["points"])[columns]
        share = (found["classes"] / metrics["classes"]).where(found["subset"] != "coarse", 1)
        found["resolution"] = 100 / (metrics["test_samples"] * share)
    except (KeyError, TypeError) as error:
        raise E2MCError(
            f"{path} has no points of a map ({error}); delete it and run again"
        ) from error
    return found.assign(base=cell.base, criterion=cell.criterion, trial=cell.trial)


def _line(point: Any, pairs: pd.DataFrame) -> dict[str, Any]:
    compared = compare_trials(pairs["top1_reference"], pairs["top1_model"])
    low, high = trial_interval(compared.difference, compared.standard_error, compared.trials)
    return {
        **dict(zip(POINT, point, strict=True)),
        "n": compared.trials,
        "continued": float(pairs["top1_reference"].mean()),
        "mean": compared.difference,
        "standard_error": compared.standard_error,
        "low": low,
        "high": high,
        "pvalue": compared.t_pvalue,
        "resolution": float(pairs["resolution_model"].max()),
    }


def lay_out(found: Evaluations, frame: pd.DataFrame) -> Table:
    """A row per subset, a column per number of labelled images; models are groups."""
    shots = sorted(frame["shots"].unique())
    groups: dict[tuple[str, str], list[Row]] = {}
    keys = ["base", "criterion", "subset", "classes"]
    for (base, criterion, subset, classes), lines in frame.groupby(keys, sort=False):
        by_shots = {line["shots"]: line for line in lines.to_dict("records")}
        heads = (base_name(found.experiment, str(base)), criterion_name(str(criterion)))
        names = (*heads, SUBSETS[str(subset)], str(classes))
        row = Row([*_named(names), *(_gain(by_shots[count]) for count in shots)])
        groups.setdefault((str(base), str(criterion)), []).append(row)
    columns = [Column("Base"), Column("Criterion"), Column("Subset"), Column("Classes", "r")]
    columns += [Column(str(count), "c", "Labelled images per class") for count in shots]
    return Table(
        "map", "Where it helps", _caption(found, frame), columns, list(groups.values()), headers=4
    )


def _named(names: Sequence[str]) -> list[Cell]:
    return [Cell(name) for name in names]


def _gain(line: Any) -> Cell:
    shown = Estimate(line["mean"], line["standard_error"], int(line["n"]), sign=True)
    mark: Any = "" if line["verdict"] == VERDICTS[0] else "bold"
    return Cell(shown, mark, link=line["evaluation"])


def _caption(found: Evaluations, frame: pd.DataFrame) -> str:
    options = found.experiment.evaluation.subsets
    assert options is not None
    counts = [int((frame["verdict"] == verdict).sum()) for verdict in VERDICTS]
    counted = " Coarse labels too are given to so many images of each of the original classes."
    kind = "linear classifiers" if options.classifier == "linear" else "nearest neighbours"
    return (
        f"Gain over continued training in points of top-1, {kind} on frozen features, mean over "
        f"{options.draws} draws of classes and labelled images and over trials paired by seed, "
        f"with its standard error. Bold: clear at {100 * LEVEL:g}{THIN}% by the paired t-test, "
        f"after Holm's correction over the points of a row's criterion and base. Clear gains: "
        f"{counts[1]} of {len(frame)} points; clear losses: {counts[2]}; elsewhere nothing can be "
        "said." + (counted if "coarse" in set(frame["subset"]) else "")
    )


_COLOURS = ("#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#56B4E9")
_MARKERS = dict(zip(VERDICTS, ("o", "^", "v"), strict=True))


def figure_map(experiment: Experiment, results: Path, cells: Sequence[Evaluation]) -> Figure:
    """Gain against the number of classes: a row per base and criterion, a panel per subset."""
    frame = gains(experiment, results, cells)
    rows = list(frame.groupby(["base", "criterion"], sort=False))
    kinds = list(frame["subset"].unique())
    drawing = Figure(figsize=(WIDTH, 2.0 * len(rows) + 0.6))
    widths = [max(2, frame[frame["subset"] == kind]["classes"].nunique()) for kind in kinds]
    axes = drawing.subplots(len(rows), len(kinds), squeeze=False, sharey="row", width_ratios=widths)
    for row, ((base, criterion), model) in zip(axes, rows, strict=True):
        for panel, kind in zip(row, kinds, strict=True):
            _panel(panel, model[model["subset"] == kind])
        name = f"{base_name(experiment, str(base))} + {criterion_name(str(criterion))}"
        row[0].set_ylabel(f"{name}\ngain (points)".replace("²", "$^2$"))
    for kind, first, last in zip(kinds, axes[0], axes[-1], strict=True):
        first.set_title(SUBSETS[kind].replace(", ", ",\n"))
        last.set_xlabel("classes")
    _legend(drawing, axes[0][0].get_legend_handles_labels()[0])
    return drawing


def _legend(drawing: Figure, shots: Sequence[Artist]) -> None:
    """Colours are labels per class, shapes are verdicts; below all panels it hides nothing."""
    heading = Line2D([], [], linestyle="", label="labels per class:")
    verdicts = [
        Line2D([], [], linestyle="", marker=marker, markersize=4, color="#555555", label=verdict)
        for verdict, marker in _MARKERS.items()
    ]
    handles = [heading, *shots, *verdicts]
    drawing.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        columnspacing=1.2,
        handletextpad=0.2,
    )


def _panel(panel: Axes, points: pd.DataFrame) -> None:
    """Numbers of classes are categories; points of one number stand beside each other."""
    panel.axhline(0, color="#999999", linewidth=0.8, zorder=0)
    sizes, shots = sorted(points["classes"].unique()), sorted(points["shots"].unique())
    panel.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    panel.set_xlim(-0.5, len(sizes) - 0.5)
    for number, count in enumerate(shots):
        shift = (number - (len(shots) - 1) / 2) * 0.8 / len(shots)
        colour = _COLOURS[number % len(_COLOURS)]
        chosen = points[points["shots"] == count]
        places = [sizes.index(size) + shift for size in chosen["classes"]]
        reach = (chosen["high"] - chosen["mean"]).to_numpy()
        panel.errorbar(places, chosen["mean"], reach, fmt="none", ecolor=colour, linewidth=0.8)
        panel.scatter([], [], s=10, color=colour, label=str(count))
        for place, mean, verdict in zip(places, chosen["mean"], chosen["verdict"], strict=True):
            panel.scatter(place, mean, s=20, color=colour, marker=_MARKERS[verdict])
