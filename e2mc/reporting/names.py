"""How things are called in tables and figures, in the text of :mod:`e2mc.reporting.table`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from e2mc.config import protocols
from e2mc.config.methods import RECIPES
from e2mc.reporting.table import THIN

METHODS = {name: recipe.title for name, recipe in RECIPES.items()}

E2MC = "E²MC"

CRITERIA = {
    "base": "base",
    "continued": "continued",
    "vcreg": "VCReg",
    "mmcr": "MMCR",
    "auh": "AUH",
    "e2mc": E2MC,
    "mec": "MEC",
    "corinfomax": "CorInfoMax",
    "er": "ER",
    "mi": "MI",
    "koleo": "KoLeo",
    "sigreg": "SIGReg",
    "visreg": "VISReg",
    "radial": "Radial-VCReg",
}
"""In the order of Table 3, then the extras."""

SHORT_PROTOCOLS = {
    **{f"linear-{percent}": f"{percent}{THIN}%" for percent in (1, 10, 100)},
    **{f"semisup-{percent}": f"{percent}{THIN}%" for percent in (1, 10)},
    **{one.stage: one.title for one in protocols.PROTOCOLS if one.published},
}
"""Heads of columns; the kind of protocol stands above them."""

PROTOCOLS = {
    **{f"linear-{percent}": f"linear, {percent}{THIN}%" for percent in (1, 10, 100)},
    **{f"semisup-{percent}": f"semi, {percent}{THIN}%" for percent in (1, 10)},
    **{one.stage: one.title for one in protocols.PROTOCOLS if one.dataset},
}
"""In full."""


def protocol_name(protocol: str) -> str:
    """In full; results on a folder tree of one's own keep the name of their folder."""
    return PROTOCOLS.get(protocol, protocol)


class FigureText(NamedTuple):
    """What is said about a figure: to everybody, and to who cannot see it."""

    title: str
    caption: str
    alternative: str


FIGURES = {
    "figure2": FigureText(
        "Figure 2",
        "(a) A uniform distribution and (b) the X, both of which minimise the loss; a random pair "
        "of dimensions of the first base's embeddings, mapped to the unit square, (c) before and "
        f"(d) after continued training with {E2MC}, with their marginals at the sides. A point "
        "keeps the colour of its place in (c). Up to 2,000 test images, spread evenly over all.",
        "Four scatter plots side by side, each with a histogram of either dimension. The flatter "
        "the histograms, the nearer the dimension is to uniform.",
    ),
    "figure3": FigureText(
        "Figure 3",
        "Distances of the test embeddings to their nearest (blue, solid line) and to a far "
        "neighbour (orange, dashed line) within each model. The percentage is the area that both "
        "histograms share: the smaller, the better are points told apart.",
        "Histograms, a row per base model: the base at the left, after continued training with "
        f"{E2MC} at the right, near and far neighbours laid over each other.",
    ),
    "figure4": FigureText(
        "Figure 4",
        "Test accuracy of a linear classifier on few labels against the epoch of continued "
        "pre-training; epoch 0 is the base model, the dotted line the epoch whose models the "
        "tables show. With several trials their mean, and a band of one standard error.",
        "Curves of accuracy against the epoch of continued pre-training, a panel per base model, "
        "a curve per arm.",
    ),
    "figure_d1": FigureText(
        "Figure D.1",
        "Ten random pairs of dimensions of the first base's embeddings, each before (left) and "
        f"after (right) continued training with {E2MC}. A point keeps the colour of its place "
        "before. The pairs are drawn by a fixed seed, not by their looks.",
        "Twenty scatter plots in the unit square, in pairs of before and after.",
    ),
    "figure_probe_epochs": FigureText(
        "Accuracy of the probes by epoch",
        "Not in the paper: test accuracy of the linear classifiers against their own epoch, mean "
        "over trials with a band of one standard error.",
        "Curves of accuracy against epoch, a row per base model, a panel per share of the labels, "
        "a curve per arm. The last points are the numbers of Table 1.",
    ),
    "figure_map": FigureText(
        "Where it helps",
        "Not in the paper: gain over continued training against the number of classes, by labelled "
        "images per class. Bars are 95 % intervals from trials paired by seed; a triangle is a "
        "difference that remains after Holm's correction over all points of the criterion on that "
        "base, upwards where it helps, downwards where it hurts; at a circle nothing can be said.",
        "A panel per base, criterion and kind of subset, with points and error bars around the "
        "line of no gain.",
    ),
}


def criterion_name(criterion: str) -> str:
    """Display name; a criterion of one's own keeps the name it has in the configuration."""
    return CRITERIA.get(criterion, criterion)


def commit_name(code: Mapping[str, Any], digits: int | None = None) -> str:
    """The code that made a result, as its provenance has it; `digits` of the commit, None: all."""
    return (code["commit"] or "unknown")[:digits] + (" with changes" if code["dirty"] else "")
