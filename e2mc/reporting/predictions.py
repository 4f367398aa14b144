"""Prediction files, from this pipeline or anyone's, read once, in blocks, with little memory.

Sample ids are kept as 64-bit hashes: ten million of them take 80 MB where the strings would take
a gigabyte, and two of them collide with a probability of 3e-6. Rows are numbered as lines of the
file, the header being line 1.
"""

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from math import isfinite, nan
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, NoReturn, TextIO

import numpy as np
from numpy.typing import NDArray

from e2mc.errors import E2MCError
from e2mc.files import check

CLASSIFICATION = ("sample", "label", "prediction")
MULTI_LABEL = ("sample", "class", "label", "score")
ROWS_AT_ONCE = 5_000
_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon"}
_NO_CLASS = {"nan", "none", "null", "<na>", "n/a", "inf", "-inf"}

Block = list[list[str]]


class Table(NamedTuple):
    """Where a file's values are.

    Attributes:
        path: the file; something that can be read only once, such as a pipe, will do.
        delimiter: comma, tab or semicolon.
        names: its columns, in order.
        indices: index of each column that is needed, by our name for it.
    """

    path: Path
    delimiter: str
    names: list[str]
    indices: dict[str, int]


class Classified(NamedTuple):
    """A file of ``sample,label,prediction``, a row for each sample.

    Attributes:
        table: the file.
        keys: hash of each sample id, shape (n,).
        labels: hash of each label, shape (n,).
        correct: whether each prediction is the label, shape (n,).
    """

    table: Table
    keys: NDArray[np.int64]
    labels: NDArray[np.int64]
    correct: NDArray[np.bool_]


class Scored(NamedTuple):
    """A file of ``sample,class,label,score``, a row for each sample and class.

    Attributes:
        table: the file.
        keys: hash of each pair of sample and class, shape (n,).
        labels: 1 present, -1 absent, 0 difficult, shape (n,).
        scores: higher for present, shape (n,).
        class_index: index into `classes`, shape (n,).
        classes: names in the order of their first appearance.
    """

    table: Table
    keys: NDArray[np.int64]
    labels: NDArray[np.int8]
    scores: NDArray[np.float64]
    class_index: NDArray[np.int32]
    classes: tuple[str, ...]


def read_predictions(path: Path, columns: Mapping[str, str] | None = None) -> Classified | Scored:
    """Read a prediction file; its header says which of the two kinds it is.

    Values are separated by commas, tabs or semicolons. Labels and predictions are compared as
    text, but 3 and 3.0 are the same.

    Args:
        path: a file or a pipe.
        columns: the file's name for a column, where it is another than ours: {"sample": "id"}.

    Raises:
        E2MCError: the file is missing, empty, lacks a column or a value, names a sample twice, has
            labels of one class only, a prediction such as nan that is no class, or a score that is
            not finite, or its predictions share nothing with its labels.
    """
    check(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = _read_header(path, stream, dict(columns or {}))
            scored = "score" in table.indices
            return _read_scored(table, stream) if scored else _read_classified(table, stream)
    except OSError as error:
        raise E2MCError(f"cannot read {path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise E2MCError(f"{path} is not a readable text file of predictions: {error}") from error


def refuse(table: Table, row: int, problem: str, values: list[str] | None = None) -> NoReturn:
    """Raise the error of one row, naming its line and, where it can be had, its sample."""
    if values is None and table.path.is_file():  # a pipe has been read already
        with table.path.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.reader(stream, delimiter=table.delimiter, skipinitialspace=True)
            values = next(islice(lines, row + 1, None), [])
    place = f"{table.path}, line {row + 2}"
    if values is not None:
        index = table.indices["sample"]
        place += f", sample {values[index] if index < len(values) else ''!r}"
    raise E2MCError(f"{place}: {problem}")


def _read_header(path: Path, stream: TextIO, columns: dict[str, str]) -> Table:
    line = stream.readline()
    if not line.strip():
        raise E2MCError(f"{path} is empty")
    readings = {
        delimiter: [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
        for delimiter in _DELIMITERS
    }
    for delimiter, names in readings.items():
        for kind in (MULTI_LABEL, CLASSIFICATION):
            wanted = {ours: columns.get(ours, ours) for ours in kind}
            if set(wanted.values()) <= set(names):
                if len(set(names)) < len(names):
                    raise E2MCError(f"{path}: the header names a column twice: {', '.join(names)}")
                indices = {ours: names.index(theirs) for ours, theirs in wanted.items()}
                return Table(path, delimiter, names, indices)
    most = max(readings.values(), key=len)
    kinds = [
        ",".join(columns.get(name, name) for name in kind) for kind in (CLASSIFICATION, MULTI_LABEL)
    ]
    raise E2MCError(
        f"{path}: the header has the columns {', '.join(most)}; {kinds[0]} (classification) or "
        f"{kinds[1]} (multi-label) are needed, separated by commas, tabs or semicolons. Columns "
        "of other names are chosen with --columns sample=NAME,label=NAME,prediction=NAME"
    )


def _blocks(table: Table, stream: TextIO) -> Iterator[tuple[int, Block]]:
    """Blocks of complete rows, each with the index of its first row, and at least one block."""
    lines = csv.reader(stream, delimiter=table.delimiter, skipinitialspace=True, strict=True)
    first = 0
    while block := list(islice(lines, ROWS_AT_ONCE)):
        if set(map(len, block)) != {len(table.names)}:
            _refuse_misshapen(table, first, block)
        yield first, block
        first += len(block)
    if first == 0:
        raise E2MCError(f"{table.path} has a header and no predictions")


def _refuse_misshapen(table: Table, first: int, block: Block) -> None:
    """Refuse surplus values; what a short row lacks is refused with its column if it is needed."""
    for offset, values in enumerate(block):
        if len(values) > len(table.names):
            problem = "more values than the header has columns; put quotes around a name with a "
            refuse(table, first + offset, problem + _DELIMITERS[table.delimiter], values)
        values += [""] * (len(table.names) - len(values))


def _column(table: Table, first: int, block: Block, name: str) -> list[str]:
    values = list(map(itemgetter(table.indices[name]), block))
    if "" in values:
        row = values.index("")
        refuse(table, first + row, f"no {name}", block[row])
    return values


class _Classes(dict[str, int]):
    """Hash of each class name, 3.0 as 3; the work is done once for each distinct value."""

    def __missing__(self, name: str) -> int:
        whole, point, fraction = name.strip().partition(".")
        same = point and not fraction.strip("0") and whole.lstrip("-").isdecimal()
        self[name] = hash(whole if same else name.strip())
        return self[name]

    def codes(self, values: list[str]) -> NDArray[np.int64]:
        return np.fromiter(map(self.__getitem__, values), np.int64, len(values))


def _read_classified(table: Table, stream: TextIO) -> Classified:
    keys, labels, predictions = [], [], []
    truth, guesses = _Classes(), _Classes()
    for first, block in _blocks(table, stream):
        samples = _column(table, first, block, "sample")
        keys.append(np.fromiter(map(hash, samples), np.int64, len(samples)))
        labels.append(truth.codes(_column(table, first, block, "label")))
        predictions.append(guesses.codes(_column(table, first, block, "prediction")))
    label, prediction = np.concatenate(labels), np.concatenate(predictions)
    known = set(truth.values())
    if len(known) < 2:
        raise E2MCError(
            f"{table.path}: all {label.size} labels are one class; accuracy says nothing"
        )
    for name, code in guesses.items():
        if name.strip().lower() in _NO_CLASS and code not in known:
            row = int(np.argmax(prediction == code))
            refuse(table, row, f"its prediction {name!r} is no class: no answer was recorded")
    if not known & set(guesses.values()):
        raise E2MCError(
            f"{table.path}: no prediction is any of the labels; is one column in names and the "
            "other in numbers?"
        )
    result = Classified(table, np.concatenate(keys), label, label == prediction)
    _refuse_duplicates(table, result.keys, "this sample")
    return result


def _read_scored(table: Table, stream: TextIO) -> Scored:
    keys, labels, scores, indices = [], [], [], []
    names: dict[str, int] = {}
    for first, block in _blocks(table, stream):
        columns = {name: _column(table, first, block, name) for name in MULTI_LABEL}
        pairs = zip(columns["sample"], columns["class"], strict=True)
        keys.append(np.fromiter(map(hash, pairs), np.int64, len(block)))
        label, score = (
            np.array([_number(v) for v in columns[name]]) for name in ("label", "score")
        )
        for name, good, rule in (
            ("label", np.isin(label, (-1, 0, 1)), "1 (present), -1 (absent) or 0 (difficult)"),
            ("score", np.isfinite(score), "a finite number"),
        ):
            if not good.all():
                row = int(np.argmin(good))
                problem = f"{name} {columns[name][row]!r} is not {rule}"
                refuse(table, first + row, problem, block[row])
        codes = (names.setdefault(name, len(names)) for name in columns["class"])
        indices.append(np.fromiter(codes, np.int32, len(block)))
        labels.append(label.astype(np.int8))
        scores.append(score)
    result = Scored(
        table=table,
        keys=np.concatenate(keys),
        labels=np.concatenate(labels),
        scores=np.concatenate(scores),
        class_index=np.concatenate(indices),
        classes=tuple(names),
    )
    _refuse_duplicates(table, result.keys, "this sample and class")
    return result


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return nan
    return value if isfinite(value) else nan


def _refuse_duplicates(table: Table, keys: NDArray[np.int64], what: str) -> None:
    order = np.argsort(keys, kind="stable")
    repeated = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    if repeated.size:
        second = int(order[repeated + 1].min())
        earlier = int(np.flatnonzero(keys == keys[second])[0])
        refuse(table, second, f"{what} is already on line {earlier + 2}")
