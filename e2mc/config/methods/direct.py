"""Recipes of information-theoretic objectives as methods of their own."""

from typing import Any, ClassVar, Literal

from e2mc.config.criteria import Criterion
from e2mc.config.fits import FewPercent, FineTune, LinearFit, Percent
from e2mc.config.methods.recipe import Optimizer, Recipe, Training, Views
from e2mc.config.methods.vicreg import VICReg
from e2mc.config.ranges import Width


class Direct(Recipe):
    """An information-theoretic objective that trains a model by itself, on VICReg's network."""

    implementation: ClassVar[str] = "e2mc.methods.direct:Direct"
    drops_last: ClassVar[bool] = False
    shape: ClassVar[dict[str, Any]] = {"projector": True}
    fits_of: ClassVar[str] = "vicreg"
    linear: ClassVar[dict[Percent, LinearFit]] = VICReg.linear
    semisup: ClassVar[dict[FewPercent, FineTune]] = {}
    paper_criteria: ClassVar[tuple[Criterion, ...]] = ()
    hours: ClassVar[float] = VICReg.hours
    weight_bytes: ClassVar[int] = VICReg.weight_bytes

    projector: tuple[Width, Width, Width] = (8192, 8192, 8192)
    """Widths of the three projector layers, as VICReg's."""
    views: Views = Views()
    """Views of the images."""
    optimizer: Optimizer = Optimizer(rule="lars", weight_decay=1e-6)
    """Update rule."""
    continued: Training = Training(learning_rate=0.006)
    """Continued pre-training with the objective as base loss."""


class ER(Direct):
    """Entropy and reconstruction (arXiv 2307.10907) as a method of its own."""

    title: ClassVar[str] = "ER"

    method: Literal["er"] = "er"
    """Its name."""


class MI(Direct):
    """Mutual information from second-order statistics (arXiv 2409.04747) as a method of its own."""

    title: ClassVar[str] = "MI"

    method: Literal["mi"] = "mi"
    """Its name."""
