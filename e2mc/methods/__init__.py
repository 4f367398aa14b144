"""The base methods: what they are made of, and the loss on a batch of views."""

from pkgutil import resolve_name

from e2mc.config.methods import Backbone, Recipe
from e2mc.methods.layout import Layout
from e2mc.methods.method import Method, Step

__all__ = ["Layout", "Method", "Step", "build_method", "method_class"]


def method_class(recipe: type[Recipe]) -> type[Method]:
    """The network and loss that a recipe is for."""
    found: type[Method] = resolve_name(recipe.implementation)
    return found


def build_method(recipe: Recipe, backbone: Backbone) -> Method:
    """A method with random weights, initialised as in its official code.

    Args:
        recipe: of any method.
        backbone: shape of the trunk.
    """
    return method_class(type(recipe))(recipe, backbone)
