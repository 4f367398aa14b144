"""Projectors, predictor and prototypes, laid out as in the official code."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone
from e2mc.errors import E2MCError
from e2mc.models.backbone import build_backbone

Recipe = recipes.VICReg | recipes.SwAV | recipes.SimSiam | recipes.Direct

RECIPES: dict[str, type[Recipe]] = {
    "vicreg": recipes.VICReg,
    "swav": recipes.SwAV,
    "simsiam": recipes.SimSiam,
    "er": recipes.Direct,
    "mi": recipes.Direct,
}
"""Method -> typed recipe."""


def vicreg_projector(inputs: int, widths: tuple[int, int, int]) -> nn.Sequential:
    """Three linear layers, BatchNorm and ReLU between them; the last without bias (official)."""
    first, second, third = widths
    return nn.Sequential(
        nn.Linear(inputs, first),
        nn.BatchNorm1d(first),
        nn.ReLU(inplace=True),
        nn.Linear(first, second),
        nn.BatchNorm1d(second),
        nn.ReLU(inplace=True),
        nn.Linear(second, third, bias=False),
    )


def swav_projector(inputs: int, widths: tuple[int, int]) -> nn.Sequential:
    """Two linear layers, BatchNorm and ReLU between them (official `projection_head`)."""
    hidden, outputs = widths
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs),
    )


def simsiam_projector(inputs: int, width: int) -> nn.Sequential:
    """Three linear layers, each with BatchNorm; the last BatchNorm has no weights (official).

    The last layer's bias is kept but frozen, as the BatchNorm after it removes any shift.
    """
    last = nn.Linear(width, width)
    last.bias.requires_grad = False
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        last,
        nn.BatchNorm1d(width, affine=False),
    )


def simsiam_predictor(width: int, hidden: int) -> nn.Sequential:
    """A bottleneck of two linear layers (official; the paper's B.1.3 says 2048-512)."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, width),
    )


def read_recipe(method: str, recipe: Mapping[str, Any]) -> Recipe:
    """The typed form of a recipe; keys that it does not mention keep their defaults.

    Raises:
        E2MCError: an unknown method.
        ValueError: an unknown key.
    """
    if method not in RECIPES:
        raise E2MCError(f"unknown method '{method}'; known: {', '.join(RECIPES)}")
    return RECIPES[method].model_validate(recipe)


def build_network(recipe: Recipe, backbone: Backbone) -> dict[str, nn.Module]:
    """Every part of a method that an official checkpoint holds, by its prefix in our keys.

    Args:
        recipe: the method's recipe, of which only the widths matter here.
        backbone: shape of the trunk.

    Returns:
        `backbone`, `projector`, and `prototypes` (SwAV) or `predictor` (SimSiam), randomly
        initialised as in the official code, in the order of the official parameters.
    """
    inputs = backbone.feature_dimension
    trunk = build_backbone(backbone, zero_init_residual=not isinstance(recipe, recipes.SwAV))
    if isinstance(recipe, recipes.SwAV):
        return {
            "backbone": trunk,
            "projector": swav_projector(inputs, recipe.projector),
            "prototypes": nn.Linear(recipe.projector[-1], recipe.prototypes, bias=False),
        }
    if isinstance(recipe, recipes.SimSiam):
        return {
            "backbone": trunk,
            "projector": simsiam_projector(inputs, recipe.projector),
            "predictor": simsiam_predictor(recipe.projector, recipe.predictor),
        }
    return {"backbone": trunk, "projector": vicreg_projector(inputs, recipe.projector)}
