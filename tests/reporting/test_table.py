from math import nan

import pytest

from e2mc.reporting.table import (
    FOOTNOTES,
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
    signed,
)


@pytest.mark.parametrize(
    "shown", [Estimate(nan), Statistic(nan), PValue(nan), Interval(nan, nan)], ids=str
)
def test_a_number_that_is_none_is_missing(shown: Shown) -> None:
    assert is_missing(shown)


@pytest.mark.parametrize(
    "shown", ["", "nan", Estimate(0.0, nan), Statistic(0.0), PValue(0.0), Interval(0, 0)], ids=str
)
def test_text_and_numbers_are_not_missing(shown: Shown) -> None:
    assert not is_missing(shown)


def test_footnotes_are_explained_where_there_are_any() -> None:
    table = Table("t", "T", "", [Column("a")], [[Row([Cell("1")])], [Row([Cell("2")])]])
    assert table.footnotes() == {}
    marked = table._replace(groups=[*table.groups, [Row([Cell("3", footnote="*")])]])
    assert marked.footnotes() == FOOTNOTES


@pytest.mark.parametrize(("value", "expected"), [(0.5, "$+0.50$"), (-1.005, "$-1.00$")])
def test_differences_in_sentences(value: float, expected: str) -> None:
    assert signed(value) == expected
