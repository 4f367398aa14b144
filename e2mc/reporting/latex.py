"""LaTeX that needs the booktabs package and nothing else."""

from collections.abc import Sequence
from math import isnan

MISSING = "--"
E2MC = "E$^2$MC"

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def escape(text: str) -> str:
    """Plain text, such as a name from the configuration, as LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def name(display: str) -> str:
    """A display name of :mod:`e2mc.reporting.names`: mathematics as it is, the rest escaped."""
    return display if "$" in display else escape(display)


def estimate(mean: float, standard_error: float, mark: str = "") -> str:
    """``53.50 +- 0.11`` with two decimals, bold or underlined on request."""
    if isnan(mean):
        return MISSING
    number = {"bold": r"\textbf{%s}", "underlined": r"\underline{%s}"}.get(mark, "%s")
    spread = "" if isnan(standard_error) else rf" {{\scriptsize$\pm$\,{standard_error:.2f}}}"
    return number % f"{mean:.2f}" + spread


def printed(mean: float, standard_error: float, mark: str = "") -> str:
    """A published number: small, in parentheses, with its mark; empty if there is none."""
    if isnan(mean):
        return ""
    spread = "" if isnan(standard_error) else rf"$\pm${standard_error:.2f}"
    return rf"{{\scriptsize({mean:.2f}{spread}{_MARKS.get(mark, '')})}}"


_MARKS = {"*": "$^{*}$", "dagger": r"$^{\dagger}$"}


def signed(value: float, decimals: int = 2) -> str:
    """A difference with its sign, a typographical minus included."""
    return MISSING if isnan(value) else f"${value:+.{decimals}f}$"


def plain(value: float) -> str:
    """Two decimals."""
    return MISSING if isnan(value) else f"${value:.2f}$"


def pvalue(value: float) -> str:
    """Three decimals, or that it is smaller."""
    if isnan(value):
        return MISSING
    return "$<$0.001" if value < 0.001 else f"{value:.3f}"


def row(cells: Sequence[str]) -> str:
    """One line of a tabular."""
    return " & ".join(cells) + r" \\"


def table(
    caption: str,
    label: str,
    columns: str,
    head: Sequence[str],
    groups: Sequence[Sequence[str]],
    size: str = r"\footnotesize",
) -> str:
    """A floating table in the booktabs style.

    Args:
        caption: LaTeX.
        label: the word after ``tab:``.
        columns: column specification of the tabular.
        head: lines above the first rule, each complete with its ``\\\\``.
        groups: lines of the body; groups are separated by a thin rule.
        size: font size command.
    """
    body: list[str] = []
    for group in groups:
        body += [*([r"\midrule"] if body else []), *group]
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        size,
        r"\setlength{\tabcolsep}{2.5pt}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
