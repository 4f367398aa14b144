from math import sqrt

import pytest

from e2mc.errors import E2MCError
from e2mc.reporting.published import published, published_cells, published_test


def test_numbers_quoted_in_the_abstract_and_text() -> None:
    assert published("swav-800", "e2mc", "linear-1") == (55.27, 0.07, None, None)
    assert published("vicreg-1000", "base", "semisup-10") == (67.97, 0.03, "*", "differs")
    assert published("swav-800", "base", "voc07")[:2] == (88.56, None)
    assert published("simsiam-100", "base", "semisup-1") is None
    assert published(None, "base", "linear-1") is None


def test_tables_1_3_and_d2_agree_where_they_repeat_a_number() -> None:
    for protocol in ("linear-1", "linear-10"):
        for grid, criterion in (("grid-0-0", "continued"), ("grid-1-25", "e2mc")):
            assert published("swav-800", grid, protocol).mean == (
                published("swav-800", criterion, protocol).mean
            )
    # 36 linear and 12 fine-tuned cells, 16 of Table 2, 9 more of Table 3, 24 of Table D.2
    assert len(published_cells()) == 36 + 12 + 16 + 9 + 24


@pytest.mark.parametrize("protocol", ["linear-1", "linear-10", "linear-100", "semisup-1"])
def test_table_d1_obeys_its_own_arithmetic(protocol: str) -> None:
    row = published_test("vicreg-1000", protocol)
    assert row.cohens_d == pytest.approx(
        sqrt(row.mcnemar_chi2 / (50_000 - row.mcnemar_chi2)), abs=0.005
    )
    assert published_test("swav-800", protocol) is None


def test_unknown_row() -> None:
    with pytest.raises(E2MCError, match="no row 'vicreg-999'; its rows: vicreg-1000, swav-400"):
        published("vicreg-999", "base", "linear-1")
