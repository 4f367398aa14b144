"""Tables as LaTeX that needs the booktabs package and nothing else."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import isnan

from e2mc.reporting.table import (
    CODE,
    THIN,
    Cell,
    Column,
    Estimate,
    Interval,
    PValue,
    Row,
    Shown,
    Statistic,
    Table,
    is_missing,
)

MISSING = "--"
PAGE = 48
"""Lines of a table that fit on a page; what is longer goes on in floats of its own."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "²": "$^2$",
    THIN: r"\,",
    "\u00a0": r"\ ",
}
_MATHEMATICS = {
    "−": "-",
    "±": r"\pm ",
    "²": "^2",
    "≤": r"\le",
    "β": r"\beta",
    "γ": r"\gamma",
    "χ": r"\chi",
    "Δ": r"\Delta",
    "†": r"\dagger",
}
_MARKS = {"bold": r"\textbf{%s}", "underlined": r"\underline{%s}", "": "%s"}
_WRITTEN = re.compile(rf"\$([^$]+)\$|{CODE}([^{CODE}]+){CODE}")


def text(neutral: str) -> str:
    """Text of a :class:`~e2mc.reporting.table.Table` as LaTeX, everything special escaped."""
    parts, end = [], 0
    for found in _WRITTEN.finditer(neutral):
        mathematics, code = found.groups()
        parts.append(escape(neutral[end : found.start()]))
        if code is None:
            parts.append(f"${_translate(mathematics, _MATHEMATICS)}$")
        else:
            parts.append(rf"\texttt{{{escape(code)}}}")
        end = found.end()
    return "".join(parts) + escape(neutral[end:])


def escape(plain: str) -> str:
    """Text that somebody else wrote as LaTeX: nothing in it has a meaning."""
    return _translate(plain, _SPECIAL)


def _translate(plain: str, characters: dict[str, str]) -> str:
    return "".join(characters.get(character, character) for character in plain)


def render(table: Table, *, two_columns: bool = False) -> str:
    """Floating table environments in the booktabs style, notes under the rules of the first.

    Args:
        table: what it shows; one that is longer than a page goes on, with the same number, in
            further floats, divided between its groups.
        two_columns: it spans both columns of the document.
    """
    environment = "table*" if two_columns else "table"
    pages: list[list[str]] = [[]]
    for group in table.groups:
        rows = [line for row in group for line in _rows(table, row)]
        if pages[-1] and len(pages[-1]) + len(rows) > PAGE:
            pages.append([])
        pages[-1] += [r"\midrule", *rows] if pages[-1] else rows
    first, *others = pages
    title = [rf"\caption{{{text(table.headline)}}}", rf"\label{{tab:{table.name}}}"]
    floats = [_float(table, environment, title, first, _notes(table))]
    title = [r"\addtocounter{table}{-1}", rf"\caption{{{text(table.title)} (continued).}}"]
    floats += [_float(table, environment, title, page, []) for page in others]
    return "\n".join(floats)


def _float(
    table: Table, environment: str, title: list[str], body: list[str], notes: list[str]
) -> str:
    columns = [column for column in table.columns if not column.detail]
    lines = [
        rf"\begin{{{environment}}}[t]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        *title,
        r"\scriptsize" if table.dense else r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{'2' if table.dense else '2.5'}pt}}",
        rf"\begin{{tabular}}{{{''.join(column.align for column in columns)}}}",
        r"\toprule",
        *_head(columns),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *notes,
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def _notes(table: Table) -> list[str]:
    """How to read it, as wide as the column."""
    sentences = [table.notes] if table.notes else []
    if table.published:
        where = {"below": "Second lines, in parentheses", "beside": "In parentheses"}
        footnotes = "; ".join(f"${mark}$: {meaning}" for mark, meaning in table.footnotes().items())
        explained = f" ({footnotes})" if footnotes else ""
        sentences.append(f"{where[table.published]}: published{explained}.")
    if not sentences:
        return []
    return [
        r"\par\smallskip",
        rf"\parbox{{\linewidth}}{{\footnotesize {text(' '.join(sentences))}}}",
    ]


def _head(columns: Sequence[Column]) -> list[str]:
    """Column heads, and above them the common heads of neighbouring columns."""
    heads = _line([text(column.head) for column in columns])
    spans: list[str] = []
    rules, first = "", 1
    for name, members in groupby(columns, key=lambda column: column.group):
        width = len(list(members))
        if name:
            spans.append(rf"\multicolumn{{{width}}}{{c}}{{{text(name)}}}")
            rules += rf"\cmidrule(lr){{{first}-{first + width - 1}}}"
        else:
            spans += [""] * width
        first += width
    return [_line(spans), rules, heads] if rules else [heads]


def _rows(table: Table, row: Row) -> Iterator[str]:
    """A row's line, and below it a line of published numbers if they have their place there."""
    pairs = zip(table.columns, row.cells, strict=True)
    cells = [cell for column, cell in pairs if not column.detail]
    yield _line([_cell(cell, beside=table.published == "beside") for cell in cells])
    if table.published == "below" and any(cell.published is not None for cell in cells):
        yield _line([_published(cell) for cell in cells])


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell, *, beside: bool) -> str:
    shown = _shown(cell.shown, cell.mark)
    if cell.note and isinstance(cell.shown, Estimate) and not is_missing(cell.shown):
        shown += f" {_small(f'($n={cell.shown.trials}$)')}"
    if not isnan(cell.difference):
        shown += f" {_small(_arrow(cell.difference))}"
    if beside and cell.published is not None:
        shown += f" {_published(cell)}"
    return shown


def _shown(shown: Shown, mark: str = "") -> str:
    if is_missing(shown):
        return MISSING
    match shown:
        case str():
            return text(shown)
        case Estimate(mean, standard_error, _, sign):
            # \textbf leaves formulas as they are
            bold = r"\boldmath" if mark == "bold" else ""
            number = f"{bold}${mean:+.2f}$" if sign else f"{mean:.2f}"
            spread = " " + _small(rf"$\pm$\,{standard_error:.2f}")
            return _MARKS[mark] % number + ("" if isnan(standard_error) else spread)
        case Statistic(value, decimals, sign):
            return f"${value:{'+' if sign else ''}.{decimals}f}$"
        case PValue(value):
            return "$<$0.001" if value < 0.001 else f"{value:.3f}"
        case Interval(low, high, decimals):
            return f"$[{low:+.{decimals}f}, {high:+.{decimals}f}]$"


def _published(cell: Cell) -> str:
    """Small, in parentheses, with its footnote; empty if the paper has no number there."""
    if cell.published is None:
        return ""
    footnote = rf"$^{{{_translate(cell.footnote, _MATHEMATICS)}}}$" if cell.footnote else ""
    shown = _shown(cell.published)
    if isinstance(cell.published, Estimate):
        mean, standard_error = cell.published[:2]
        shown = f"{mean:.2f}" + ("" if isnan(standard_error) else rf"$\pm${standard_error:.2f}")
    return _small(f"({shown}{footnote})")


def _arrow(difference: float) -> str:
    size = f"{abs(difference):.2f}"
    if float(size) == 0:
        return "$=$"
    arrow = r"\uparrow" if difference > 0 else r"\downarrow"
    return rf"${arrow}$\,{size}"


def _small(latex: str) -> str:
    return rf"{{\scriptsize{latex}}}"
