"""The numbers that the paper printed."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from e2mc.errors import E2MCError


class Published(NamedTuple):
    """One printed cell, in per cent.

    Attributes:
        mean: mean over the paper's three trials, or the single number printed.
        standard_error: None where the paper prints none.
        marker: `*` or `dagger` as printed, else None.
        inferred: where no mark survived, our reading of it: `taken` from the original
            publication, reproduced and `differs` from it, `unclear`, or None.
    """

    mean: float
    standard_error: float | None
    marker: str | None
    inferred: str | None


class PublishedTest(NamedTuple):
    """One row of Table D.1 (VICReg, 50,000 images); p-values as printed, such as ``<0.001``."""

    difference: float
    permutation_p: str
    cohens_d: float
    mcnemar_chi2: float
    mcnemar_p: str


@cache
def _numbers() -> dict[str, Any]:
    text = (files("e2mc.reporting") / "published.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@cache
def published_cells() -> dict[tuple[str, str, str], Published]:
    """(row, criterion, protocol) -> printed cell, in the order of Tables 1, 2, 3 and D.2.

    Rows are `vicreg-1000`, `swav-400`, `swav-800`, `simsiam-100`; the criteria of Table D.2 are
    ``grid-<beta>-<gamma>``.
    """
    return {(row[0], row[1], row[2]): Published(*row[3:]) for row in _numbers()["cells"]}


def published(base_row: str | None, criterion: str, protocol: str) -> Published | None:
    """The printed cell, or None if the paper has no such cell.

    Args:
        base_row: `published` of a base in the configuration; None: it stands for no row.
        criterion: `base`, `continued`, `e2mc`, ... or ``grid-<beta>-<gamma>``.
        protocol: as in the file names.

    Raises:
        E2MCError: the paper has no such row.
    """
    if base_row is None:
        return None
    rows = list(dict.fromkeys(row for row, _, _ in published_cells()))
    if base_row not in rows:
        raise E2MCError(
            f"bases.*.published: the paper has no row '{base_row}'; its rows: {', '.join(rows)}"
        )
    return published_cells().get((base_row, criterion, protocol))


def published_test(base_row: str | None, protocol: str) -> PublishedTest | None:
    """The row of Table D.1, printed for `vicreg-1000` alone."""
    if base_row != "vicreg-1000":
        return None
    for row in _numbers()["table_d1"]:
        if row[0] == protocol:
            return PublishedTest(row[1], str(row[2]), row[3], row[4], str(row[5]))
    return None
