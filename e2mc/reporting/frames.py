"""The numbers behind a table as a CSV file: written with the same bytes everywhere, and read."""

from pathlib import Path

import pandas as pd

_TEXTS = (
    "base",
    "criterion",
    "evaluation",
    "mark",
    "note",
    "published_mark",
    "published_mcnemar_p",
    "published_permutation_p",
    "verdict",
)
"""Columns that pandas would take for numbers where they are empty or look like one."""


def to_csv(frame: pd.DataFrame) -> str:
    """CSV with the same bytes everywhere: six significant digits, Unix line ends."""
    return str(frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def read_csv(path: Path) -> pd.DataFrame:
    """What :func:`to_csv` wrote; an empty field is nan in a column of numbers, else empty text."""
    texts = dict.fromkeys(_TEXTS, "")
    frame = pd.read_csv(
        path, dtype=dict.fromkeys(texts, object), keep_default_na=False, na_values=""
    )
    return frame.fillna({name: text for name, text in texts.items() if name in frame})
