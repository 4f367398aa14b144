"""Recipes of the base methods: views, heads, losses, optimizers and schedules.

Every default is the one the paper used, with its source beside it. "e2mc" stands for the
official repository deepc94/e2mc at 875d8de, "official" for the method's own repository.

A method is one module here, an entry in each list below, and its network in `e2mc.methods`; see
docs/your_own.md.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from e2mc.config.fits import FewPercent, FineTune, LinearFit, Percent
from e2mc.config.methods.barlow_twins import BarlowTwins
from e2mc.config.methods.direct import ER, MI, Direct
from e2mc.config.methods.recipe import Backbone, Optimizer, Recipe, Training, Views
from e2mc.config.methods.simsiam import SimSiam
from e2mc.config.methods.swav import SwAV
from e2mc.config.methods.vicreg import VICReg
from e2mc.config.strict import Strict

__all__ = [
    "ER",
    "MI",
    "RECIPES",
    "AnyRecipe",
    "Backbone",
    "BarlowTwins",
    "Direct",
    "FineTunings",
    "LinearFits",
    "Method",
    "Methods",
    "Optimizer",
    "Recipe",
    "SimSiam",
    "SwAV",
    "Training",
    "VICReg",
    "Views",
]

Method = Literal["vicreg", "swav", "simsiam", "er", "mi", "barlow_twins"]

AnyRecipe = Annotated[
    VICReg | SwAV | SimSiam | ER | MI | BarlowTwins, Field(discriminator="method")
]
"""A recipe of any method, which pydantic tells apart by `method`."""


class Methods(Strict):
    """One recipe per base method."""

    vicreg: VICReg = VICReg()
    """VICReg."""
    swav: SwAV = SwAV()
    """SwAV."""
    simsiam: SimSiam = SimSiam()
    """SimSiam."""
    er: ER = ER()
    """Entropy and reconstruction (arXiv 2307.10907) as a method of its own."""
    mi: MI = MI()
    """Mutual information from second-order statistics (arXiv 2409.04747) as a method of its own."""
    barlow_twins: BarlowTwins = BarlowTwins()
    """Barlow Twins, not in the paper."""


class LinearFits(Strict):
    """Fits of the linear probe by method."""

    vicreg: dict[Percent, LinearFit] = VICReg.linear
    """VICReg (also used for `er` and `mi`)."""
    swav: dict[Percent, LinearFit] = SwAV.linear
    """SwAV."""
    simsiam: dict[Percent, LinearFit] = SimSiam.linear
    """SimSiam; the paper's 0.2 and 0.1 at batch 2048 are read as base rates per 256 images."""
    barlow_twins: dict[Percent, LinearFit] = BarlowTwins.linear
    """Barlow Twins (official `evaluate.py`)."""


class FineTunings(Strict):
    """Fine-tuning by method, for those with a published protocol."""

    vicreg: dict[FewPercent, FineTune] = VICReg.semisup
    """VICReg: cosine."""
    swav: dict[FewPercent, FineTune] = SwAV.semisup
    """SwAV: steps."""
    barlow_twins: dict[FewPercent, FineTune] = BarlowTwins.semisup
    """Barlow Twins: cosine (official README for 1 %, which says nothing of 10 %: the same)."""


RECIPES: dict[str, type[Recipe]] = {
    name: type(field.default) for name, field in Methods.model_fields.items()
}
"""Method -> its recipe, with the facts that no experiment changes."""


def check_facts(name: str, recipe: type[Recipe]) -> None:
    """Refuse a method with a gap, when it is imported and not after days of training.

    Raises:
        TypeError: what the method lacks, and where it belongs.
    """
    lacking = [f"`{fact}`" for fact in sorted(Recipe.__class_vars__) if not hasattr(recipe, fact)]
    if lacking:
        raise TypeError(f"{recipe.__name__} in {recipe.__module__} lacks {', '.join(lacking)}")
    wanted = {
        "Method": name in get_args(Method),
        "AnyRecipe": recipe in get_args(get_args(AnyRecipe)[0]),
        "LinearFits": recipe.fits_of in LinearFits.model_fields,
        "FineTunings": not recipe.semisup or recipe.fits_of in FineTunings.model_fields,
    }
    absent = [listed for listed, there in wanted.items() if not there]
    if absent:
        raise TypeError(f"add {name} to {', '.join(absent)} in {__name__}")
    if recipe.model_fields["method"].default != name:
        raise TypeError(f"{recipe.__name__} in {recipe.__module__} is not called {name}")


for _name, _recipe in RECIPES.items():
    check_facts(_name, _recipe)
if _absent := set(get_args(Method)) - set(RECIPES):
    raise TypeError(f"add {', '.join(sorted(_absent))} to Methods in {__name__}")
