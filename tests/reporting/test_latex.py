"""The LaTeX of small tables and sentences, against what one would write by hand."""

from math import nan

import pytest

from e2mc.reporting.latex import render, text
from e2mc.reporting.table import (
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
)


@pytest.mark.parametrize(
    ("neutral", "expected"),
    [
        ("E²MC", "E$^2$MC"),
        (f"1{THIN}% of a & b", r"1\,\% of a \& b"),
        ("mean ± error", r"mean $\pm$ error"),
        ("$z$, $|z|≤3$ and $−0.93$", r"$z$, $|z|\le3$ and $-0.93$"),
        ("$β=1$, $γ$, $χ²$, $Δ$, $†$", r"$\beta=1$, $\gamma$, $\chi^2$, $\Delta$, $\dagger$"),
        ("`own_name` and own_name", r"\texttt{own\_name} and own\_name"),
        ("one $ alone, #1, {x}", r"one \$ alone, \#1, \{x\}"),
        (r"a\b~c^d", r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d"),
        ("p<0.001", "p$<$0.001"),
        ("Perm.\u00a0$p$", r"Perm.\ $p$"),
    ],
)
def test_text(neutral: str, expected: str) -> None:
    assert text(neutral) == expected


def table(*cells: Cell, **changes: object) -> Table:
    columns = [Column(str(number)) for number in range(len(cells))]
    return Table("t", "Title", "Caption.", columns, [[Row(cells)]])._replace(**changes)


def body(shown: Table) -> list[str]:
    return render(shown).split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (Estimate(53.5, 0.114), r"53.50 {\scriptsize$\pm$\,0.11}"),
        (Estimate(53.5), "53.50"),
        (Estimate(-0.5, 0.2, sign=True), r"$-0.50$ {\scriptsize$\pm$\,0.20}"),
        (Statistic(-0.0625, 3, sign=True), "$-0.062$"),
        (Statistic(5.876), "$5.88$"),
        (PValue(0.0205), "0.021"),
        (PValue(0.0009), "$<$0.001"),
        (Interval(-0.01, 0.02), "$[-0.010, +0.020]$"),
        ("a_b", r"a\_b"),
        *((shown, "--") for shown in (Estimate(nan), Statistic(nan), PValue(nan))),
    ],
)
def test_what_a_cell_shows(shown: Shown, expected: str) -> None:
    assert body(table(Cell(shown))) == [rf"{expected} \\"]


def test_marks_notes_and_differences() -> None:
    cells = [
        Cell(Estimate(1, 0.5), mark="bold"),
        Cell(Estimate(2), mark="underlined"),
        Cell(Estimate(3, 0.5, 2), note="trial 1 missing"),
        Cell(Estimate(nan), note="not evaluated"),
        Cell(Estimate(4), difference=-0.25),
        Cell(Estimate(4), difference=0.25),
        Cell(Estimate(4), difference=-0.004),
    ]
    assert body(table(*cells))[0].split(" & ") == [
        r"\textbf{1.00} {\scriptsize$\pm$\,0.50}",
        r"\underline{2.00}",
        r"3.00 {\scriptsize$\pm$\,0.50} {\scriptsize($n=2$)}",
        "--",
        r"4.00 {\scriptsize$\downarrow$\,0.25}",
        r"4.00 {\scriptsize$\uparrow$\,0.25}",
        r"4.00 {\scriptsize$=$} \\",
    ]


def test_published_numbers_have_the_place_that_the_table_gives_them() -> None:
    cells = [
        Cell("a"),
        Cell(Estimate(1), published=Estimate(2, 0.25), footnote="†"),
        Cell(PValue(0.5), published="<0.001"),
    ]
    assert body(table(*cells)) == [r"a & 1.00 & 0.500 \\"]
    below = table(*cells, published="below")
    second = r" & {\scriptsize(2.00$\pm$0.25$^{\dagger}$)} & {\scriptsize($<$0.001)} \\"
    assert body(below) == [r"a & 1.00 & 0.500 \\", second]
    explained = r"published ($*$: reproduced by its authors, different from the original; $\dagger$"
    assert rf"\parbox{{\linewidth}}{{\footnotesize Second lines, in parentheses: {explained}" in (
        render(below)
    )
    beside = table(*cells[:2], published="beside")
    assert body(beside) == [r"a & 1.00 {\scriptsize(2.00$\pm$0.25$^{\dagger}$)} \\"]
    assert r"{\footnotesize In parentheses: published" in render(beside)


def test_a_whole_table() -> None:
    columns = [
        Column("Name"),
        Column("A", "c", "Both"),
        Column("left out", "c", "Both", detail=True),
        Column("B", "r", "Both"),
        Column("$d$", "r"),
    ]
    rows = [Row([Cell(name), *(Cell(str(n)) for n in range(4))]) for name in ("x", "y")]
    expected = r"""\begin{table}[t]
\centering
\setlength{\belowcaptionskip}{6pt}
\caption{In \%.}
\label{tab:t}
\scriptsize
\setlength{\tabcolsep}{2pt}
\begin{tabular}{lcrr}
\toprule
 & \multicolumn{2}{c}{Both} &  \\
\cmidrule(lr){2-3}
Name & A & B & $d$ \\
\midrule
x & 0 & 2 & 3 \\
\midrule
y & 0 & 2 & 3 \\
\bottomrule
\end{tabular}
\par\smallskip
\parbox{\linewidth}{\footnotesize Read it so. And so.}
\end{table}
"""
    shown = Table(
        "t", "Title", "In %. Read it so. And so.", columns, [[row] for row in rows], dense=True
    )
    assert render(shown) == expected
    spanning = expected.replace("{table}", "{table*}")
    assert render(shown, two_columns=True) == spanning


@pytest.mark.parametrize(("groups", "floats"), [(4, [4]), (5, [4, 1]), (9, [4, 4, 1])])
def test_a_table_longer_than_a_page_goes_on(groups: int, floats: list[int]) -> None:
    """Eleven lines a group and the rules between them: four fit into 48."""
    group = [Row([Cell("row")])] * 11
    table = Table("t", "Title", "In %. Read it so.", [Column("Name")], [group] * groups)
    pages = render(table).split("\\end{table}\n")[:-1]
    assert [page.count("row") for page in pages] == [11 * count for count in floats]
    assert [page.count(r"\midrule") for page in pages] == floats
    assert all(page.count(r"\bottomrule") == page.count(r"\caption") == 1 for page in pages)
    assert [page.count("Read it so") for page in pages] == [1, *[0] * (len(floats) - 1)]
    assert [page.count(r"\label") for page in pages] == [1, *[0] * (len(floats) - 1)]
    for page in pages[1:]:
        assert r"\addtocounter{table}{-1}" in page and r"\caption{Title (continued).}" in page
