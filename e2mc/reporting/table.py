"""A table as data: what it says and how it is arranged, before any renderer.

Text is Unicode with two marks: ``$z$`` is mathematics, in which letters are variables, and
:data:`CODE` quotes what a user typed. :mod:`e2mc.reporting.latex` and :mod:`e2mc.reporting.html`
render it; neither knows where a table comes from.
"""

from collections.abc import Sequence
from math import isnan, nan
from typing import Literal, NamedTuple

CODE = "`"
"""Encloses a name from the configuration."""

THIN = "\u202f"
"""Narrow no-break space, between a number and its unit."""

FOOTNOTES = {
    "*": "reproduced by its authors, different from the original",
    "†": "so printed, its meaning is lost",
}
"""What the paper's marks beside its numbers mean."""


class Estimate(NamedTuple):
    """A mean in per cent, shown with two decimals.

    Attributes:
        mean: nan if there is none.
        standard_error: its standard error over trials; nan below two.
        trials: number of trials that it is over.
        sign: show a plus too, as for a difference.
    """

    mean: float
    standard_error: float = nan
    trials: int = 0
    sign: bool = False


class Statistic(NamedTuple):
    """Any other number; `sign` shows a plus too, as for a difference."""

    value: float
    decimals: int = 2
    sign: bool = False


class PValue(NamedTuple):
    """A p-value, shown with three decimals or as smaller."""

    value: float


class Interval(NamedTuple):
    """A confidence interval of a difference."""

    low: float
    high: float
    decimals: int = 3


Number = Estimate | Statistic | PValue | Interval
Shown = str | Number


class Cell(NamedTuple):
    """One cell.

    Attributes:
        shown: what is read first.
        mark: emphasis.
        link: the evaluations behind the number: the name of a table or the anchor of a row.
        file: a file that the cell names, relative to the results folder.
        published: the number that the paper printed in this place.
        footnote: a key of :data:`FOOTNOTES`, beside the published number, or beside `shown` in a
            cell that is itself about a published number.
        difference: to the first row of the table, in points; nan: not said.
        note: what is missing behind the number.
        curve: per cent by epoch, drawn small where there is a screen to draw on.
    """

    shown: Shown = ""
    mark: Literal["", "bold", "underlined"] = ""
    link: str = ""
    file: str = ""
    published: Shown | None = None
    footnote: str = ""
    difference: float = nan
    note: str = ""
    curve: Sequence[float] = ()


class Row(NamedTuple):
    """One line; a link can lead to its anchor."""

    cells: Sequence[Cell]
    anchor: str = ""


class Column(NamedTuple):
    """One column.

    Attributes:
        head: its name.
        align: left, centred or right.
        group: common head of neighbouring columns, empty for none.
        detail: left out where there is little room, as on paper.
    """

    head: str
    align: Literal["l", "c", "r"] = "l"
    group: str = ""
    detail: bool = False


class Table(NamedTuple):
    """A whole table.

    Attributes:
        name: unique identity, such as ``table1``, which a link can lead to.
        title: what it is about in a few words, its heading.
        caption: sentences that make it readable alone; the first says what is shown, the others
            are notes.
        columns: from left to right.
        groups: from top to bottom, separated by a thin rule.
        headers: how many columns name their row.
        published: where paper has room for the published numbers: in a second line, beside the
            number, or nowhere because they are not the target of the experiment.
        dense: it is wide and wants a smaller font.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    groups: Sequence[Sequence[Row]]
    headers: int = 1
    published: Literal["", "below", "beside"] = ""
    dense: bool = False

    @property
    def headline(self) -> str:
        """What is shown: the first sentence of the caption."""
        return self._sentences()[0]

    @property
    def notes(self) -> str:
        """How to read it: all further sentences of the caption."""
        return self._sentences()[1]

    def _sentences(self) -> tuple[str, str]:
        first, stop, others = self.caption.partition(". ")
        return first + stop.strip(), others

    def footnotes(self) -> dict[str, str]:
        """Every footnote with its meaning if any cell has one, else none."""
        rows = (row for group in self.groups for row in group)
        used = any(cell.footnote for row in rows for cell in row.cells)
        return FOOTNOTES if used else {}


def is_missing(shown: Shown) -> bool:
    """Whether there is no number to show."""
    return not isinstance(shown, str) and isnan(shown[0])


def signed(value: float, decimals: int = 2) -> str:
    """A difference within a sentence, with its sign."""
    return f"${value:+.{decimals}f}$"
