"""How things are called in tables and figures; the mathematics is valid in LaTeX and matplotlib."""

METHODS = {"vicreg": "VICReg", "swav": "SwAV", "simsiam": "SimSiam", "er": "ER", "mi": "MI"}

CRITERIA = {
    "base": "base",
    "continued": "continued",
    "vcreg": "VCReg",
    "mmcr": "MMCR",
    "auh": "AUH",
    "e2mc": "E$^2$MC",
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
    **{f"linear-{percent}": rf"{percent}\,\%" for percent in (1, 10, 100)},
    **{f"semisup-{percent}": rf"{percent}\,\%" for percent in (1, 10)},
    "inat18": "iNat18",
    "voc07": "VOC07",
}
"""Heads of columns, in LaTeX; the kind of protocol stands above them."""

PROTOCOLS = {
    **{f"linear-{percent}": rf"linear, {percent}\,\%" for percent in (1, 10, 100)},
    **{f"semisup-{percent}": rf"semi, {percent}\,\%" for percent in (1, 10)},
    "inat18": "iNat18",
    "voc07": "VOC07",
}
"""In full, in LaTeX."""


def criterion_name(criterion: str) -> str:
    """Display name; a criterion of one's own keeps the name it has in the configuration."""
    return CRITERIA.get(criterion, criterion)
