"""Figure 3: how far a test embedding is from its nearest and from a far neighbour."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.plan import layout
from e2mc.plan.needs import Cell
from e2mc.reporting.drawing import WIDTH, load, model_name

STYLES = (("#0072B2", "-"), ("#E69F00", "--"), ("#009E73", ":"), ("#CC79A7", "-."))
"""Colour and line of each rank in turn: blue and orange as in the paper; in grey, the lines."""

BINS = 50


def figure3(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """One row per base, one panel per model, the ranks of the neighbours over each other."""
    bases = list(dict.fromkeys(cell.base for cell in cells))
    ranks = experiment.evaluation.knn.distance_ranks
    drawing = Figure(figsize=(WIDTH, 1.5 * len(bases) + 0.3))
    axes = drawing.subplots(len(bases), 2, squeeze=False)
    for panel, cell in zip(axes.flat, cells, strict=True):
        distances = _distances(results, cell, len(ranks))
        _histograms(panel, distances, ranks)
        title = model_name(experiment, cell)
        if len(ranks) > 1:
            title += f": {100 * overlap(distances[:, 0], distances[:, -1]):.0f} % overlap"
        panel.set_title(title)
    axes[0, 0].legend(loc="upper right")
    for panel in axes[-1]:
        panel.set_xlabel("distance in the compact space")
    return drawing


def overlap(near: NDArray[np.float64], far: NDArray[np.float64]) -> float:
    """Area that two histograms with the figure's bins have in common, from 0 to 1."""
    bins = _bins(np.concatenate([near, far]))
    shares = [np.histogram(values, bins)[0] / len(values) for values in (near, far)]
    return float(np.minimum(*shares).sum())


def _histograms(panel: Axes, distances: NDArray[np.float64], ranks: Sequence[int]) -> None:
    bins = _bins(distances)
    for values, rank, (colour, line) in zip(distances.T, ranks, cycle(STYLES), strict=False):
        panel.hist(values, bins, histtype="stepfilled", color=colour, alpha=0.35)
        panel.hist(
            values,
            bins,
            histtype="step",
            color=colour,
            linestyle=line,
            linewidth=1.2,
            label="nearest neighbour" if rank == 1 else f"neighbour of rank {rank}",
        )
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)


def _bins(values: NDArray[np.float64]) -> list[float]:
    return [float(edge) for edge in np.histogram_bin_edges(values, BINS)]


def _distances(results: Path, cell: Cell, ranks: int) -> NDArray[np.float64]:
    path = results / layout.DISTANCES.format(**cell._asdict())
    distances = load(path).astype(np.float64)
    if distances.ndim != 2 or distances.shape[1] != ranks:
        raise E2MCError(
            f"{path} has the shape {distances.shape} where (samples, {ranks}) is expected: "
            "evaluation.knn.distance_ranks has changed since; delete it and run again"
        )
    return distances
