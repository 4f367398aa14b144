import re
from math import nan

import pytest

from e2mc.reporting.html import Page, Section, below, render, shown, text
from e2mc.reporting.table import (
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
from tests.reporting.parsed import Parsed


def page(
    *cells: Cell, columns: list[Column] | None = None, root: str = "", anchor: str = ""
) -> str:
    table = Table("t", "T", "About.", columns or [Column("c")] * len(cells), [[Row(cells, anchor)]])
    return render(Page("a & b", ["<script>"], [Section("S", tables=[table])], root))


@pytest.mark.parametrize(
    ("neutral", "expected"),
    [
        ("E²MC ± 1", "E²MC ± 1"),
        ("$-0.93$, $|z|≤3$, $χ²$", "−0.93, |<i>z</i>|≤3, <i>χ</i>²"),
        ("`own_name`", "<code>own_name</code>"),
        ("<b> & `<i>` $a<b$", "&lt;b&gt; &amp; <code>&lt;i&gt;</code> <i>a</i>&lt;<i>b</i>"),
        ("one $ alone", "one $ alone"),
    ],
)
def test_text(neutral: str, expected: str) -> None:
    assert text(neutral) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Estimate(53.5, 0.114), "53.50 ±\u00a00.11"),
        (Estimate(-0.5, 0.2, sign=True), "−0.50 ±\u00a00.20"),
        (Statistic(0.5, 3, sign=True), "+0.500"),
        (Statistic(800, 0), "800"),
        (PValue(0.0009), "&lt; 0.001"),
        (PValue(0.25), "0.250"),
        (Interval(-0.01, 0.02), "[−0.010, +0.020]"),
        *((value, "–") for value in (Estimate(nan), Statistic(nan), PValue(nan))),
    ],
)
def test_what_a_cell_shows(value: Shown, expected: str) -> None:
    assert shown(value) == expected


def test_what_stands_below() -> None:
    cell = Cell(
        Estimate(1),
        published=Estimate(2, 0.5),
        footnote="*",
        difference=-0.25,
        note="trial 1 missing",
    )
    assert below(cell) == ["−0.25 to the first row", "paper 2.00 ±\u00a00.50*", "trial 1 missing"]
    assert below(Cell(Estimate(1))) == []


def test_footnotes_are_explained_where_there_are_any() -> None:
    marked = page(Cell(Estimate(1), footnote="†"))
    assert "1.00†" in marked and "† so printed, its meaning is lost." in marked
    assert "†" not in page(Cell(Estimate(1)))


def test_links_lead_to_anchors_and_files_or_are_plain_text() -> None:
    cells = [Cell("1", link="here"), Cell("2", link="gone"), Cell("3", file="x y/a.csv"), Cell("4")]
    found = Parsed(page(*cells, root="../", anchor="here"))
    assert found.links == ["#here", "../x%20y/a.csv"]
    assert [text for text, _ in found.cells if text in "1234"] == ["1", "2", "3", "4"]


def test_text_is_escaped() -> None:
    html = page(Cell("<b>"))
    assert "a &amp; b" in html and "&lt;script&gt;" in html
    assert "<b>" not in html and "<script" not in html


def test_every_head_says_what_it_heads() -> None:
    columns = [Column("Name"), Column("A", "c", "Both"), Column("B", "c", "Both"), Column("C", "r")]
    html = page(*map(Cell, "1234"), columns=columns)
    head = re.search("<thead>(.*)</thead>", html, re.DOTALL)
    assert head is not None
    lines = [
        re.findall(r'<th scope="(\w+)"[^>]*?>([^<]+)', line) for line in head[1].split("</tr>")
    ]
    assert lines[0] == [("col", "Name"), ("colgroup", "Both"), ("col", "C")]
    assert lines[1] == [("col", "A"), ("col", "B")]
    spans = [(head.get("colspan"), head.get("rowspan")) for head in Parsed(html).heads]
    assert spans[:3] == [(None, "2"), ("2", None), (None, "2")]
    assert Parsed(html).heads[-1]["scope"] == "row"
    assert "<caption>About.</caption>" in html
