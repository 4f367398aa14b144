"""Figures 2 and D.1: two dimensions of the embeddings, before and after E2MC.

Test images come sorted by class, so the points are spread evenly over all of them. Pairs of
dimensions are drawn at random, by a fixed seed and not by their looks. A point has one colour
before and after, that of its place before: colours that stay together show what stays together.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import expit, ndtr
from scipy.stats import rankdata

from e2mc.config import Experiment
from e2mc.config.stages import space_of
from e2mc.errors import E2MCError
from e2mc.plan import layout
from e2mc.plan.needs import Cell
from e2mc.reporting.drawing import WIDTH, load, model_name

POINTS = 2000
"""Test images that a panel of points shows."""

PAIRS = 10
"""Pairs of dimensions in Figure D.1."""

SEED = 0
"""Of the pairs and the points."""

CORNERS = np.array(
    [[[0.03, 0.19, 0.50], [0.50, 0.06, 0.06]], [[0.45, 0.86, 0.90], [1.00, 0.80, 0.25]]]
)
"""RGB at the corners of the square: [up][right]. Hue goes with x, lightness with y, so that the
vertical place can also be read in grey."""

GREY = "#555555"

Array = NDArray[np.float64]


def figure2(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """Two distributions that minimise the loss, and a pair of dimensions before and after."""
    before, after = (_unit_cube(experiment, results, cell) for cell in cells)
    x, y = random_pairs(before.shape[1])[0]
    square = np.random.default_rng(SEED).random((POINTS, 2))
    crossed = square.copy()
    upper = np.random.default_rng(SEED + 1).random(POINTS) < 0.5
    crossed[:, 1] = np.where(upper, square[:, 0], 1 - square[:, 0])
    colours = colours_of(before[:, [x, y]])
    names = [model_name(experiment, cell) for cell in cells]
    drawing = Figure(figsize=(WIDTH, WIDTH * 0.31))
    panels = (
        ("(a) uniform", square, None),
        ('(b) the "X"', crossed, None),
        (f"(c) {names[0]}", before[:, [x, y]], colours),
        (f"(d) {names[1]}", after[:, [x, y]], colours),
    )
    for axes, (title, points, coloured) in zip(drawing.subplots(1, 4), panels, strict=True):
        _plane(axes, points, coloured, size=3.0)
        top = _marginals(axes, points)
        top.set_title(title)
        if coloured is not None:
            axes.set(xlabel=f"dimension {x}", ylabel=f"dimension {y}")
    return drawing


def figure_d1(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """Random pairs of dimensions, each before (left) and after (right)."""
    before, after = (_unit_cube(experiment, results, cell) for cell in cells)
    names = [model_name(experiment, cell) for cell in cells]
    pairs = random_pairs(before.shape[1])
    rows = -(-len(pairs) // 2)
    drawing = Figure(figsize=(WIDTH, 1.72 * rows))
    axes = drawing.subplots(rows, 4, squeeze=False, sharex=True, sharey=True)
    for panel in axes.flat[2 * len(pairs) :]:
        panel.set_axis_off()
    for number, (x, y) in enumerate(pairs):
        row, half = divmod(number, 2)
        colours = colours_of(before[:, [x, y]])
        for name, panel, cube in zip(
            names, axes[row, 2 * half : 2 * half + 2], (before, after), strict=True
        ):
            _plane(panel, cube[:, [x, y]], colours, size=2.0)
            panel.set_title(f"({chr(ord('a') + number)}) {name}", fontsize=7)
            panel.set_xlabel(f"dimensions {x}, {y}", fontsize=6)
    return drawing


def spread(count: int, wanted: int = POINTS) -> NDArray[np.int64]:
    """Rows drawn evenly over all: the i-th at random from the i-th of ``wanted`` equal parts.

    Returns:
        (min(count, wanted),) increasing.
    """
    if count <= wanted:
        return np.arange(count)
    places = np.arange(wanted) + np.random.default_rng(SEED).random(wanted)
    return (places * count / wanted).astype(np.int64)


def random_pairs(dimensions: int) -> list[tuple[int, int]]:
    """Up to `PAIRS` pairs of dimensions, none of which is in two pairs."""
    order = np.random.default_rng(SEED).permutation(dimensions)
    count = min(PAIRS, dimensions // 2)
    return [(int(x), int(y)) for x, y in order[: 2 * count].reshape(count, 2)]


def colours_of(points: Array) -> Array:
    """Colours by place: ranks, lest points that lie close together all look alike.

    Args:
        points: (n, 2).

    Returns:
        (n, 3) RGB.
    """
    right, up = ((rankdata(points, axis=0) - 0.5) / len(points)).T[..., None]
    low, high = ((1 - right) * left + right * other for left, other in CORNERS)
    return np.asarray((1 - up) * low + up * high)


def unit_cube(embeddings: Array, space: str) -> Array:
    """`e2mc.criteria.to_unit_cube` without torch; a test holds the two together."""
    return np.asarray(expit(embeddings) if space == "hypercube" else ndtr(embeddings))


def _unit_cube(experiment: Experiment, results: Path, cell: Cell) -> Array:
    """Some embeddings in the space of the base's E2MC criterion, shape (samples, d)."""
    path = results / layout.EMBEDDINGS.format(**cell._asdict())
    stored = load(path)
    if stored.ndim != 2 or stored.shape[1] < 2:
        raise E2MCError(f"{path} has the shape {stored.shape}, not (samples, dimensions)")
    shown = stored[spread(len(stored))].astype(np.float64)
    return unit_cube(shown, space_of(experiment, cell.base) or "")


def _plane(axes: Axes, points: Array, colours: Array | None, *, size: float) -> None:
    """The joint marginal of two dimensions in the unit square."""
    x, y = points.T
    axes.scatter(
        x, y, s=size, c=GREY if colours is None else colours, linewidths=0, rasterized=True
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 1), yticks=(0, 1), box_aspect=1)
    axes.spines[["top", "right"]].set_visible(True)


def _marginals(axes: Axes, points: Array) -> Axes:
    """Histograms of both dimensions at the sides; returns the upper one."""
    bins = [float(edge) for edge in np.linspace(0, 1, 26)]
    top, side = axes.inset_axes((0, 1.03, 1, 0.2)), axes.inset_axes((1.03, 0, 0.2, 1))
    top.hist(points[:, 0], bins, color=GREY)
    side.hist(points[:, 1], bins, color=GREY, orientation="horizontal")
    top.set_xlim(0, 1)
    side.set_ylim(0, 1)
    top.set_axis_off()
    side.set_axis_off()
    return top
