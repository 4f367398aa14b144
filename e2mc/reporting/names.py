"""How things are called in tables and figures, in the text of :mod:`e2mc.reporting.table`."""

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
    **{one.stage: one.title for one in protocols.PROTOCOLS if one.published},
}
"""In full."""


def protocol_name(protocol: str) -> str:
    """In full; results on a folder tree of one's own keep the name of their folder."""
    return PROTOCOLS.get(protocol, protocol)


def criterion_name(criterion: str) -> str:
    """Display name; a criterion of one's own keeps the name it has in the configuration."""
    return CRITERIA.get(criterion, criterion)
