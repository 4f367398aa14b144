"""Figures 2, 3, 4 and D.1 of the paper, as PNG and PDF with the same bytes every time."""

from collections.abc import Callable, Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import atomic_write, check
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell
from e2mc.plan.recorded import refuse_other_settings
from e2mc.reporting.findings import base_name
from e2mc.reporting.names import criterion_name

WIDTH = 6.75
"""Inches: two columns of a conference page."""

POINTS = 2000
"""Test images that a panel of points shows."""

COLOURS = {"base": "#555555", "continued": "#0072B2", "e2mc": "#D55E00"}
FIXED_METADATA = {"pdf": {"CreationDate": None}, "png": {"Software": None}}


def write_figure(experiment: Experiment, results: Path, figure: str, paths: Iterable[Path]) -> None:
    """Draw one figure and write it to each path, in the format of its suffix.

    Args:
        experiment: the experiment.
        results: its results folder.
        figure: `figure2`, `figure3`, `figure4` or `figure_d1`.
        paths: destinations, ``.pdf`` or ``.png``.

    Raises:
        E2MCError: no such figure, or what it is drawn from is missing, damaged, of another shape or
            made with other settings.
    """
    cells = needs.figure_inputs(experiment, figure)
    if not cells:
        raise E2MCError(
            f"{figure} needs a base that is trained with e2mc; this experiment has none"
        )
    refuse_other_settings(experiment, results, cells)
    with as_file(files("e2mc.reporting") / "paper.mplstyle") as sheet, style.context(sheet):
        drawing = _DRAWERS[figure](experiment, results, cells)
        for path in paths:
            kind = path.suffix.removeprefix(".")
            if kind not in FIXED_METADATA:
                raise E2MCError(f"cannot write {path}: figures are .pdf or .png")
            with atomic_write(path) as temporary:
                drawing.savefig(temporary, format=kind, metadata=FIXED_METADATA[kind])


def _figure2(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """One pair of dimensions before and after, the one-dimensional marginals at the sides."""
    drawing = Figure(figsize=(WIDTH * 0.8, WIDTH * 0.4))
    bins = [float(edge) for edge in np.linspace(0, 1, 26)]
    for plane, cell in zip(drawing.subplots(1, 2), cells, strict=True):
        x, y = _pairs(_unit_cube(experiment, results, cell), 1)[0]
        colour = COLOURS[cell.criterion]
        _plane(plane, x, y, colour, size=3.0)
        plane.set(xlabel="dimension 1", ylabel="dimension 2")
        top = plane.inset_axes((0, 1.03, 1, 0.2))
        side = plane.inset_axes((1.03, 0, 0.2, 1))
        top.hist(x, bins, color=colour)
        side.hist(y, bins, color=colour, orientation="horizontal")
        top.set(xlim=(0, 1), title=_model(experiment, cell))
        side.set(ylim=(0, 1))
        top.set_axis_off()
        side.set_axis_off()
    return drawing


def _figure_d1(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """Three pairs of dimensions of every base, before (left) and after (right)."""
    bases = list(dict.fromkeys(cell.base for cell in cells))
    drawing = Figure(figsize=(WIDTH, 1.3 * len(bases) + 0.2))
    axes = drawing.subplots(len(bases), 6, squeeze=False, sharex=True, sharey=True)
    for number, cell in enumerate(cells):
        row, half = divmod(number, 2)
        pairs = _pairs(_unit_cube(experiment, results, cell), 3)
        for column, (x, y) in enumerate(pairs):
            panel = axes[row, 3 * half + column]
            _plane(panel, x, y, COLOURS[cell.criterion], size=1.5)
            if column == 1:
                panel.set_title(_model(experiment, cell))
    return drawing


def _unit_cube(experiment: Experiment, results: Path, cell: Cell) -> NDArray[np.float64]:
    """Embeddings in the space of the base's E2MC criterion, shape (samples, d)."""
    space = getattr(experiment.criteria["e2mc"][experiment.bases[cell.base].method], "space", "")
    path = results / layout.EMBEDDINGS.format(**cell._asdict())
    embeddings = _load(path)[:POINTS].astype(np.float64)
    if embeddings.ndim != 2 or embeddings.shape[1] < 2:
        raise E2MCError(f"{path} has the shape {embeddings.shape}, not (samples, dimensions)")
    return unit_cube(embeddings, space)


def unit_cube(embeddings: NDArray[np.float64], space: str) -> NDArray[np.float64]:
    """`e2mc.criteria.to_unit_cube` without torch; a test holds the two together."""
    return np.asarray(expit(embeddings) if space == "hypercube" else ndtr(embeddings))


def _pairs(
    cube: NDArray[np.float64], count: int
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Neighbouring dimensions, evenly spread: chosen by position, not by how they look."""
    first = [number * (cube.shape[1] - 1) // count for number in range(count)]
    return [(cube[:, dimension], cube[:, dimension + 1]) for dimension in first]


def _plane(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], colour: str, *, size: float
) -> None:
    """The joint marginal of two dimensions in the unit square."""
    axes.scatter(x, y, s=size, c=colour, alpha=0.5, linewidths=0, rasterized=True)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 1), yticks=(0, 1), box_aspect=1)
    axes.spines[["top", "right"]].set_visible(True)


def _figure3(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """Distances of test embeddings to the nearest and to a far neighbour, before and after."""
    bases = list(dict.fromkeys(cell.base for cell in cells))
    ranks = experiment.evaluation.knn.distance_ranks
    drawing = Figure(figsize=(WIDTH, 1.5 * len(bases) + 0.3))
    axes = drawing.subplots(len(bases), len(ranks), squeeze=False)
    for row, base in zip(axes, bases, strict=True):
        distances = {
            cell.criterion: _distances(results, cell, len(ranks))
            for cell in cells
            if cell.base == base
        }
        for column, (panel, rank) in enumerate(zip(row, ranks, strict=True)):
            drawn = [values[:, column] for values in distances.values()]
            bins = np.histogram_bin_edges(np.concatenate(drawn), 50)
            for criterion, values in distances.items():
                panel.hist(
                    values[:, column],
                    bins,
                    histtype="stepfilled",
                    color=COLOURS[criterion],
                    alpha=0.5,
                    label=_arm(criterion),
                )
            which = "nearest neighbour" if rank == 1 else f"neighbour of rank {rank}"
            panel.set_title(f"{base_name(experiment, base)}: {which}")
            panel.set_yticks([])
            panel.spines["left"].set_visible(False)
        row[0].legend(loc="upper right")
    for panel in axes[-1]:
        panel.set_xlabel("distance in the compact space")
    return drawing


def _distances(results: Path, cell: Cell, ranks: int) -> NDArray[np.float64]:
    path = results / layout.DISTANCES.format(**cell._asdict())
    distances = _load(path).astype(np.float64)
    if distances.ndim != 2 or distances.shape[1] != ranks:
        raise E2MCError(
            f"{path} has the shape {distances.shape} where (samples, {ranks}) is expected: "
            "evaluation.knn.distance_ranks has changed since; delete it and run again"
        )
    return distances


def _figure4(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """Test accuracy of the linear classifiers by epoch, mean and standard error over trials."""
    bases = list(dict.fromkeys(cell.base for cell in cells))
    protocols = list(dict.fromkeys(cell.protocol for cell in cells))
    drawing = Figure(figsize=(WIDTH, 1.6 * len(bases) + 0.3))
    axes = drawing.subplots(len(bases), len(protocols), squeeze=False, sharex="col")
    for row, base in zip(axes, bases, strict=True):
        for panel, protocol in zip(row, protocols, strict=True):
            share = protocol.removeprefix("linear-")
            chosen = [cell for cell in cells if (cell.base, cell.protocol) == (base, protocol)]
            for criterion in dict.fromkeys(cell.criterion for cell in chosen):
                arm = [cell for cell in chosen if cell.criterion == criterion]
                _curve(panel, results, arm)
            panel.set_title(f"{base_name(experiment, base)}: {share} % of the labels")
        row[0].set_ylabel("top-1 (%)")
        row[-1].legend(loc="lower right")
    for panel in axes[-1]:
        panel.set_xlabel("epoch of the linear classifier")
    return drawing


def _curve(axes: Axes, results: Path, arm: Sequence[Cell]) -> None:
    """Mean over the trials of one arm, and a band of one standard error (ddof 1)."""
    trials = pd.concat([_history(results, cell) for cell in arm], axis=1, join="inner")
    epochs, mean = trials.index.to_numpy(), trials.mean(axis=1).to_numpy()
    criterion = arm[0].criterion
    axes.plot(epochs, mean, color=COLOURS[criterion], label=_arm(criterion))
    if len(arm) > 1:
        error = trials.sem(axis=1).to_numpy()
        axes.fill_between(
            epochs, mean - error, mean + error, color=COLOURS[criterion], alpha=0.25, linewidth=0
        )


def _history(results: Path, cell: Cell) -> "pd.Series[float]":
    path = results / layout.CURVE.format(**cell._asdict())
    check(path)
    try:
        content = pd.read_csv(path, index_col="epoch")
        return content["top1"].astype(float)
    except FileNotFoundError as error:
        raise E2MCError(f"{path} does not exist: run the evaluation first") from error
    except (KeyError, ValueError) as error:
        raise E2MCError(f"{path} has no columns epoch and top1; delete it and run again") from error


def _load(path: Path) -> NDArray[np.floating[Any]]:
    check(path)
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise E2MCError(f"{path} does not exist: run its stage first") from error
    except (ValueError, EOFError) as error:
        raise E2MCError(f"{path} is damaged ({error}); delete it and run again") from error


def _arm(criterion: str) -> str:
    name = criterion_name(criterion).replace("²", "$^2$")
    return "+ " + name if criterion == "e2mc" else name


def _model(experiment: Experiment, cell: Cell) -> str:
    name = base_name(experiment, cell.base)
    return f"{name} {_arm(cell.criterion)}" if cell.criterion == "e2mc" else name


_DRAWERS: dict[str, Callable[[Experiment, Path, Sequence[Cell]], Figure]] = {
    "figure2": _figure2,
    "figure3": _figure3,
    "figure4": _figure4,
    "figure_d1": _figure_d1,
}
