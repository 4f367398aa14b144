"""Prediction files, from this pipeline or anyone's, read with little memory.

Sample ids are kept as 64-bit hashes: ten million of them take 80 MB where the strings would take
a gigabyte, and two of them collide with a probability of 3e-6. Rows are numbered as lines of the
file, the header being line 1.
"""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from e2mc.errors import E2MCError
from e2mc.files import check

CLASSIFICATION = ("sample", "label", "prediction")
MULTI_LABEL = ("sample", "class", "label", "score")
VALUES_AT_ONCE = 1_500_000
SURPLUS = "(surplus)"


class Classified(NamedTuple):
    """A file of ``sample,label,prediction``, a row for each sample.

    Attributes:
        path: the file.
        keys: hash of each sample id, shape (n,).
        labels: hash of each label, shape (n,).
        correct: whether each prediction is the label, shape (n,).
    """

    path: Path
    keys: NDArray[np.uint64]
    labels: NDArray[np.uint64]
    correct: NDArray[np.bool_]


class Scored(NamedTuple):
    """A file of ``sample,class,label,score``, a row for each sample and class.

    Attributes:
        path: the file.
        keys: hash of each pair of sample and class, shape (n,).
        labels: 1 present, -1 absent, 0 difficult, shape (n,).
        scores: higher for present, shape (n,).
        class_index: index into `classes`, shape (n,).
        classes: names in the order of their first appearance.
    """

    path: Path
    keys: NDArray[np.uint64]
    labels: NDArray[np.int8]
    scores: NDArray[np.float64]
    class_index: NDArray[np.int32]
    classes: tuple[str, ...]


def read_predictions(path: Path) -> Classified | Scored:
    """Read a prediction file; its header says which of the two kinds it is.

    Labels and predictions are compared as text, but 3 and 3.0 are the same.

    Raises:
        E2MCError: the file is missing, empty, not comma-separated, lacks a column or a value, names
            a sample twice, has labels of one class only or a score that is not finite, or its
            predictions share nothing with its labels.
    """
    check(path)
    header = _header(path)
    if set(MULTI_LABEL) <= set(header):
        return _read_scored(path)
    if set(CLASSIFICATION) <= set(header):
        return _read_classified(path)
    raise E2MCError(
        f"{path}: the header has the columns {', '.join(header)}; a comma-separated file with "
        f"{','.join(CLASSIFICATION)} (classification) or {','.join(MULTI_LABEL)} (multi-label) is "
        "needed"
    )


def refuse(path: Path, row: int, problem: str) -> NoReturn:
    """Raise the error of one row, naming its line and sample."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(stream)
        column = [name.strip() for name in next(lines)].index("sample")
        values = next(islice(lines, row, None), [])
    sample = values[column] if column < len(values) else ""
    raise E2MCError(f"{path}, line {row + 2}, sample {sample!r}: {problem}")


def _read_classified(path: Path) -> Classified:
    keys, labels, predictions = [], [], []
    for chunk in _chunks(path, CLASSIFICATION):
        keys.append(pd.util.hash_array(chunk["sample"].to_numpy(object), categorize=False))
        labels.append(_hash_classes(chunk["label"]))
        predictions.append(_hash_classes(chunk["prediction"]))
    truth = np.concatenate(labels)
    known, guessed = np.unique(truth), np.unique(np.concatenate(predictions))
    if known.size < 2:
        raise E2MCError(f"{path}: all {truth.size} labels are one class; accuracy says nothing")
    if not np.isin(guessed, known).any():
        raise E2MCError(
            f"{path}: no prediction is any of the labels; is one column in names and the other in "
            "numbers?"
        )
    correct = np.concatenate([a == b for a, b in zip(labels, predictions, strict=True)])
    result = Classified(path, np.concatenate(keys), truth, correct)
    _refuse_duplicates(path, result.keys, "this sample")
    return result


def _read_scored(path: Path) -> Scored:
    keys, labels, scores, indices = [], [], [], []
    names: dict[str, int] = {}
    first = 0
    for chunk in _chunks(path, MULTI_LABEL):
        keys.append(pd.util.hash_pandas_object(chunk[["sample", "class"]], index=False).to_numpy())
        label = pd.to_numeric(chunk["label"], errors="coerce").to_numpy(np.float64)
        score = pd.to_numeric(chunk["score"], errors="coerce").to_numpy(np.float64)
        for values, good, rule in (
            ("label", np.isin(label, (-1, 0, 1)), "1 (present), -1 (absent) or 0 (difficult)"),
            ("score", np.isfinite(score), "a finite number"),
        ):
            if not good.all():
                row = int(np.argmin(good))
                refuse(path, first + row, f"{values} {chunk[values].iloc[row]!r} is not {rule}")
        local, uniques = pd.factorize(chunk["class"])
        codes = [names.setdefault(str(name), len(names)) for name in uniques]
        indices.append(np.array(codes, dtype=np.int32)[local])
        labels.append(label.astype(np.int8))
        scores.append(score)
        first += len(chunk)
    result = Scored(
        path=path,
        keys=np.concatenate(keys),
        labels=np.concatenate(labels),
        scores=np.concatenate(scores),
        class_index=np.concatenate(indices),
        classes=tuple(names),
    )
    _refuse_duplicates(path, result.keys, "this sample and class")
    return result


def _chunks(path: Path, columns: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """Blocks of rows as text, no value missing, and at least one block."""
    header, first = _header(path), 0
    options: dict[str, Any] = {
        "header": None,
        "skiprows": 1,
        # Without a name for it, pandas drops or shifts what a row has beyond the header.
        "names": [*header, SURPLUS],
        "index_col": False,
        "dtype": str,
        "keep_default_na": False,
        "na_values": [""],
        "skip_blank_lines": False,
        "skipinitialspace": True,
        "encoding": "utf-8-sig",
        "chunksize": max(1, VALUES_AT_ONCE // len(header)),
    }
    try:
        with pd.read_csv(path, **options) as chunks:
            for chunk in chunks:
                _refuse_incomplete(path, chunk, columns, first)
                yield chunk[list(columns)]
                first += len(chunk)
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        problem = str(error).strip()
        raise E2MCError(f"{path} is not a readable comma-separated file: {problem}") from error
    if first == 0:
        raise E2MCError(f"{path} has a header and no predictions")


def _refuse_incomplete(
    path: Path, chunk: pd.DataFrame, columns: tuple[str, ...], first: int
) -> None:
    surplus = chunk[SURPLUS].notna().to_numpy()
    if surplus.any():
        refuse(
            path,
            first + int(surplus.argmax()),
            "more values than the header has columns; put quotes around a name with a comma",
        )
    missing = chunk[list(columns)].isna()
    if missing.to_numpy().any():
        row = int(missing.any(axis=1).to_numpy().argmax())
        refuse(path, first + row, f"no {missing.columns[missing.iloc[row]][0]}")


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = next(csv.reader(stream), None)
    except OSError as error:
        raise E2MCError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise E2MCError(f"{path} is not a text file: {error}") from error
    if not header:
        raise E2MCError(f"{path} is empty")
    names = [name.strip() for name in header]
    if len(set(names)) < len(names):
        raise E2MCError(f"{path}: the header names a column twice: {', '.join(names)}")
    return names


def _hash_classes(column: "pd.Series[str]") -> NDArray[np.uint64]:
    """Hash of each value, 3.0 as 3; the work is done once for each distinct value."""
    codes, values = pd.factorize(column)
    same = (
        pd.Series(values, dtype=object).str.strip().str.replace(r"^(-?\d+)\.0*$", r"\1", regex=True)
    )
    return np.asarray(pd.util.hash_array(same.to_numpy(object))[codes], dtype=np.uint64)


def _refuse_duplicates(path: Path, keys: NDArray[np.uint64], what: str) -> None:
    order = np.argsort(keys, kind="stable")
    repeated = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    if repeated.size:
        second = int(order[repeated + 1].min())
        earlier = int(np.flatnonzero(keys == keys[second])[0])
        refuse(path, second, f"{what} is already on line {earlier + 2}")
