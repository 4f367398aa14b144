"""How things are called in tables and figures, in the text of :mod:`e2mc.reporting.table`."""

from e2mc.reporting.table import THIN

from e2mc.config.methods import RECIPES

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
}
"""In the order of Table 3, then the extras."""

SHORT_PROTOCOLS = {
    **{f"linear-{percent}": f"{percent}{THIN}%" for percent in (1, 10, 100)},
    **{f"semisup-{percent}": f"{percent}{THIN}%" for percent in (1, 10)},
    "inat18": "iNat18",
    "voc07": "VOC07",
}
"""Heads of columns; the kind of protocol stands above them."""

PROTOCOLS = {
    **{f"linear-{percent}": f"linear, {percent}{THIN}%" for percent in (1, 10, 100)},
    **{f"semisup-{percent}": f"semi, {percent}{THIN}%" for percent in (1, 10)},
    "inat18": "iNat18",
    "voc07": "VOC07",
}
"""In full."""


def criterion_name(criterion: str) -> str:
    """Display name; a criterion of one's own keeps the name it has in the configuration."""
    return CRITERIA.get(criterion, criterion)
