"""Tables and sections of text as a page, one HTML file that fetches nothing."""

import re
from base64 import b64encode
from collections.abc import Sequence
from itertools import groupby
from math import isnan
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from e2mc.reporting.forest import Forest, Line, Tick
from e2mc.reporting.table import (
    CODE,
    Cell,
    Column,
    Estimate,
    Interval,
    Number,
    PValue,
    Shown,
    Statistic,
    Table,
    is_missing,
)

MISSING = "–"
PLUS_MINUS = "±\u00a0"
"""A narrow cell breaks before it, never after."""

_WRITTEN = re.compile(rf"\$([^$]+)\$|{CODE}([^{CODE}]+){CODE}")
_VARIABLES = re.compile("([A-Za-zα-ω]+)")


class Picture(NamedTuple):
    """A PNG within the page.

    Attributes:
        content: of the file.
        caption: what it shows.
        alternative: the same for who cannot see it.
    """

    content: bytes
    caption: str
    alternative: str

    @property
    def source(self) -> str:
        """As an address that fetches nothing."""
        return f"data:image/png;base64,{b64encode(self.content).decode()}"


class Section(NamedTuple):
    """What stands under one heading; all of it may be left out.

    Attributes:
        title: the heading.
        paragraphs: text below it.
        text: preformatted.
        tables: from top to bottom.
        pictures: below the tables.
        files: the same in other forms, relative to the results folder.
        folded: the preformatted text is opened by a click.
        anchor: a link in the page's contents leads here; without one it is not listed.
    """

    title: str = ""
    paragraphs: Sequence[str] = ()
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    files: Sequence[str] = ()
    folded: bool = False
    anchor: str = ""


class Lead(NamedTuple):
    """The first screen of a front page.

    Attributes:
        question: what was asked.
        answer: one sentence with its uncertainty.
        scale: at what scale it was found; empty: the paper's.
        plot: the differences behind the answer; None if nothing is compared.
        plot_caption: what the plot shows.
        plot_notes: how to read it.
        table: the first table.
        files: the table in other forms, relative to the results folder.
    """

    question: str
    answer: str
    scale: str
    plot: Forest | None
    plot_caption: str
    plot_notes: str
    table: Table
    files: Sequence[str] = ()


class Page(NamedTuple):
    """A whole page.

    Attributes:
        title: its heading.
        paragraphs: text below the heading.
        sections: from top to bottom.
        root: the results folder as seen from the page, empty or with a slash at its end.
        lead: above the sections, on a front page alone.
    """

    title: str
    paragraphs: Sequence[str]
    sections: Sequence[Section]
    root: str = ""
    lead: Lead | None = None

    @property
    def tables(self) -> list[Table]:
        """All of them, from top to bottom."""
        first = [] if self.lead is None else [self.lead.table]
        return first + [table for section in self.sections for table in section.tables]


class Head(NamedTuple):
    """One head of a table, over one or more columns and one or two lines."""

    text: str
    align: str
    columns: int = 1
    lines: int = 1


def render(page: Page) -> str:
    """The page as HTML; all text is escaped, and a link to what is not on it is plain text."""
    rows = (row for table in page.tables for group in table.groups for row in group)
    anchors = {table.name for table in page.tables} | {row.anchor for row in rows}
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader(Path(__file__).parent),
    )
    environment.filters |= {
        "text": text,
        "shown": shown,
        "below": below,
        "heads": heads,
        "tick": tick,
        "curve": curve,
        "said": said,
    }
    environment.globals |= {
        "href": lambda cell: href(cell, anchors, page.root),
        "file": lambda path: quote(page.root + path),
        "zip": zip,
    }
    return environment.get_template("page.html").render(page=page) + "\n"


def text(neutral: str) -> Markup:
    """Text of a :class:`~e2mc.reporting.table.Table` as HTML, everything special escaped."""
    parts, end = [], 0
    for found in _WRITTEN.finditer(neutral):
        mathematics, code = found.groups()
        parts.append(escape(neutral[end : found.start()]))
        if code is None:
            parts.append(_mathematics(mathematics))
        else:
            parts.append(Markup("<code>{}</code>").format(code))
        end = found.end()
    return Markup("").join([*parts, escape(neutral[end:])])


def _mathematics(written: str) -> Markup:
    """Letters are variables, in italics."""
    # splitting by a pattern in parentheses puts what it matched at the odd places
    parts = enumerate(_VARIABLES.split(written.replace("-", "−")))
    variable = Markup("<i>{}</i>")
    return Markup("").join(variable.format(part) if n % 2 else part for n, part in parts)


def shown(value: Shown) -> Markup:
    """What a cell shows first."""
    return text(value) if isinstance(value, str) else escape(plain(value))


def plain(value: Number) -> str:
    """The same in Unicode, before it is part of a page."""
    if is_missing(value):
        return MISSING
    match value:
        case Estimate(mean, standard_error, _, sign):
            spread = "" if isnan(standard_error) else f" {PLUS_MINUS}{number(standard_error)}"
            return number(mean, sign=sign) + spread
        case Statistic(size, decimals, sign):
            return number(size, decimals, sign=sign)
        case PValue(size):
            return "< 0.001" if size < 0.001 else number(size, 3)
        case Interval(low, high, decimals):
            ends = (number(end, decimals, sign=True) for end in (low, high))
            return f"[{', '.join(ends)}]"


def number(value: float, decimals: int = 2, *, sign: bool = False) -> str:
    """A number with its decimals and a typographical minus, or a dash if there is none."""
    if isnan(value):
        return MISSING
    return f"{value:{'+' if sign else ''}.{decimals}f}".replace("-", "−")


def below(cell: Cell) -> list[Markup]:
    """Smaller lines under what a cell shows."""
    lines = []
    if not isnan(cell.difference):
        lines.append(escape(f"{number(cell.difference, sign=True)} to the first row"))
    if cell.published is not None:
        lines.append(escape("paper ") + shown(cell.published) + cell.footnote)
    if cell.note:
        lines.append(escape(cell.note))
    return lines


def curve(values: Sequence[float]) -> Markup:
    """A small line from left to right, as high as its own range."""
    low, high = min(values), max(values)
    across, up = 96 / max(len(values) - 1, 1), 20 / ((high - low) or 1)
    points = " ".join(
        f"{2 + n * across:.0f},{22 - (value - low) * up:.1f}" for n, value in enumerate(values)
    )
    said = (
        f"by epoch: {number(values[0])} after the first, {number(high)} at the highest, "
        f"{number(values[-1])} after the last of {len(values)}"
    )
    return Markup(
        '<svg class="curve" viewBox="0 0 100 24" role="img" aria-label="{}">'
        '<polyline points="{}"/></svg>'
    ).format(said, points)


def tick(mark: Tick) -> str:
    """A value beside an axis, without decimals that say nothing."""
    return f"{mark.value:+g}".replace("-", "−") if mark.value else "0"


def said(line: Line) -> str:
    """One line of a forest plot, for who cannot see it."""
    if line.position is None:
        return line.verdict
    interval = "" if line.ends is None else f", 95 % interval {plain(line.interval)}"
    return f"{shown(line.difference.shown)} points{interval}, {line.verdict}"


def heads(columns: Sequence[Column]) -> list[list[Head]]:
    """The lines of heads: common heads of neighbouring columns stand above those."""
    if not any(column.group for column in columns):
        return [[Head(column.head, column.align) for column in columns]]
    upper: list[Head] = []
    for group, members in groupby(columns, key=lambda column: column.group):
        of_group = list(members)
        if group:
            upper.append(Head(group, "c", columns=len(of_group)))
        else:
            upper += [Head(column.head, column.align, lines=2) for column in of_group]
    return [upper, [Head(column.head, column.align) for column in columns if column.group]]


def href(cell: Cell, anchors: set[str], root: str) -> str:
    """Where a cell leads: to its file, to the evaluations on the page, or nowhere."""
    if cell.file:
        return quote(root + cell.file)
    return f"#{cell.link}" if cell.link and cell.link in anchors else ""
