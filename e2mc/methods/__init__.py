"""The base methods: what they are made of, and the loss on a batch of views."""

from collections.abc import Mapping
from typing import Any

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone
from e2mc.methods.direct import Direct
from e2mc.methods.method import Method, Step
from e2mc.methods.simsiam import SimSiam
from e2mc.methods.swav import SwAV
from e2mc.methods.vicreg import VICReg
from e2mc.models.heads import read_recipe

__all__ = ["Direct", "Method", "SimSiam", "Step", "SwAV", "VICReg", "build_method"]


def build_method(method: str, recipe: Mapping[str, Any], backbone: Backbone) -> Method:
    """A method with random weights, initialised as in its official code.

    Args:
        method: `vicreg`, `swav`, `simsiam`, `er` or `mi`.
        recipe: its section of the configuration; absent keys keep their defaults.
        backbone: shape of the trunk.

    Raises:
        E2MCError: an unknown method.
        ValueError: an unknown key in the recipe.
    """
    typed = read_recipe(method, recipe)
    match typed:
        case recipes.VICReg():
            return VICReg(typed, backbone)
        case recipes.SwAV():
            return SwAV(typed, backbone)
        case recipes.SimSiam():
            return SimSiam(typed, backbone)
        case _:
            return Direct(method, typed, backbone)
