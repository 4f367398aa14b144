"""A page of the report: headed sections of text and tables, one HTML file without resources."""

import re
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

TEMPLATE = Path(__file__).with_name("page.html")
MISSING = "–"


class Shown(NamedTuple):
    """One cell of a table.

    Attributes:
        text: what is read first.
        link: anchor on the same page; empty for none.
        below: smaller lines under it.
        mark: ``bold``, ``underlined`` or nothing.
    """

    text: str
    link: str = ""
    below: tuple[str, ...] = ()
    mark: str = ""


class Row(NamedTuple):
    """One line of a table, which a link can lead to."""

    cells: Sequence[Shown]
    anchor: str = ""


class Group(NamedTuple):
    """Lines between two rules, which a link can lead to as a whole."""

    rows: Sequence[Row]
    anchor: str = ""


class Section(NamedTuple):
    """A heading, paragraphs, preformatted text and a table, each of which may be left out."""

    title: str = ""
    paragraphs: Sequence[str] = ()
    text: str = ""
    head: Sequence[str] = ()
    groups: Sequence[Group] = ()


class Page(NamedTuple):
    """A whole page."""

    title: str
    paragraphs: Sequence[str]
    sections: Sequence[Section]


def render(page: Page) -> str:
    """The page as HTML; all text is escaped, and a link to what is not on it is plain text."""
    groups = [group for section in page.sections for group in section.groups]
    anchors = {group.anchor for group in groups} | {row.anchor for g in groups for row in g.rows}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(page=page, anchors=anchors - {""}) + "\n"


def number(value: float, decimals: int = 2, *, sign: bool = False) -> str:
    """A number with its decimals and a typographical minus, or a dash if there is none."""
    if isnan(value):
        return MISSING
    return f"{value:{'+' if sign else ''}.{decimals}f}".replace("-", "−")


def estimate(mean: float, standard_error: float) -> str:
    """``53.50 ± 0.11``."""
    return number(mean) + ("" if isnan(standard_error) else f" ± {number(standard_error)}")


def pvalue(value: float) -> str:
    """Three decimals, or that it is smaller."""
    return "< 0.001" if value < 0.001 else number(value, 3)


def plain(latex: str) -> str:
    """The LaTeX of our captions and names as text."""
    for command, character in _CHARACTERS.items():
        latex = latex.replace(command, character)
    latex = re.sub(r"\\texttt\{(.*?)\}", r"\1", latex)
    return re.sub(r"\\([%&#_{}$])", r"\1", re.sub(r"(?<!\\)\$", "", latex))


_CHARACTERS = {
    "$-": "−",
    r"$\pm$\,": "± ",
    r"$\pm$": "±",
    r"\,": " ",
    "$^2$": "²",
    r"\chi^2": "χ²",
    r"\Delta": "Δ",
    r"\beta": "β",
    r"\gamma": "γ",
    r"\le": " ≤ ",
    r"$^{*}$": "*",
    r"$^{\dagger}$": "†",
    r"$\dagger$": "†",
    r"\ ": " ",
    r"\textbackslash{}": "\\",
}
