"""How things are called in tables and figures, in the text of :mod:`e2mc.reporting.table`."""

from typing import NamedTuple

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
        "Two dimensions of the embeddings, mapped to the unit square, before and after continued "
        f"training with {E2MC}, with their marginals at the sides.",
        "Two scatter plots side by side, before and after, with a histogram of each dimension. "
        "The flatter the histograms, the nearer the dimension is to uniform.",
    ),
    "figure3": FigureText(
        "Figure 3",
        "Distances of the test embeddings to their nearest and to a far neighbour, before and "
        f"after continued training with {E2MC}.",
        "Histograms, a row per base model: nearest neighbour at the left, far neighbour at the "
        "right, before and after laid over each other.",
    ),
    "figure4": FigureText(
        "Figure 4",
        "Test accuracy of the linear classifiers by epoch, mean over trials with a band of one "
        "standard error.",
        "Curves of accuracy against epoch, a row per base model, a panel per share of the labels, "
        "a curve per arm. The last points are the numbers of Table 1.",
    ),
    "figure_d1": FigureText(
        "Figure D.1",
        "Three pairs of dimensions of the embeddings of every base model, before and after "
        f"continued training with {E2MC}. The pairs are chosen by position.",
        "Scatter plots in the unit square, a row per base model: three pairs of dimensions before "
        "at the left, the same after at the right.",
    ),
}


def criterion_name(criterion: str) -> str:
    """Display name; a criterion of one's own keeps the name it has in the configuration."""
    return CRITERIA.get(criterion, criterion)
