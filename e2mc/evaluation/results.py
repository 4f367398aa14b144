"""What an evaluation leaves on disk: metrics.json, predictions.csv and history.csv."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2mc.errors import E2MCError
from e2mc.files import atomic_write, digest, write_record
from e2mc.plan import layout
from e2mc.provenance import cost


class Epoch(NamedTuple):
    """One line of history.csv: a trained epoch, from 1, and the test top-1 after it in per cent."""

    epoch: int
    top1: float
    train_loss: float
    learning_rate: float


def refuse_diverged(loss: float, what: str, epoch: int) -> None:
    """Stop at a loss that is not finite.

    Raises:
        E2MCError: the loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise E2MCError(
            f"the loss of {what} is {loss} in epoch {epoch}: it has diverged; "
            "lower its learning rate, and check the model that made the features"
        )


def write_classification(
    folder: Path,
    *,
    names: Sequence[str],
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    classes: int,
    train_samples: int,
    provenance: Mapping[str, Any],
    history: Sequence[Epoch] = (),
    spent: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """Write a top-1 protocol's results; metrics.json is last and marks them complete.

    ``last`` is the accuracy of the predictions, after the last epoch; of several random draws it
    is their mean, and the predictions written are those of the first. ``best`` and
    ``best_epoch`` are the largest accuracy in the history, as official scripts report it: chosen
    on the test samples, and so not the reported number.

    Args:
        folder: the protocol's folder; its name is the protocol's.
        names: test samples.
        labels: their classes, (m,).
        predictions: predicted classes, (m,) or (draws, m).
        classes: number of classes.
        train_samples: labelled training samples.
        provenance: see `e2mc.provenance.provenance`.
        history: the epochs, for protocols that have some.
        spent: see `e2mc.provenance.cost`; None: this process since it began.
        more: further entries of metrics.json.
    """
    if history:
        rows = ((e.epoch, f"{e.top1:.4f}", f"{e.train_loss:.6g}", e.learning_rate) for e in history)
        write_csv(folder / layout.CURVE_FILE, Epoch._fields, rows)
    first = np.atleast_2d(predictions)[0]
    columns = zip(names, labels.tolist(), first.tolist(), strict=True)
    write_csv(folder / layout.PREDICTIONS_FILE, ("sample", "label", "prediction"), columns)
    last = 100 * float(np.mean(predictions == labels))
    best = max(history, key=lambda epoch: epoch.top1, default=None)
    _write_metrics(
        folder,
        "top-1",
        last=last,
        best=best.top1 if best else last,
        best_epoch=best.epoch if best else None,
        classes=classes,
        train_samples=train_samples,
        test_samples=len(names),
        test_set=digest([list(names), labels.tolist()]),
        **more,
        cost=cost() if spent is None else spent,
        provenance=provenance,
    )


def write_multilabel(
    folder: Path,
    *,
    names: Sequence[str],
    labels: NDArray[np.int64],
    scores: NDArray[np.floating[Any]],
    classes: Sequence[str],
    average_precision: ArrayLike,
    train_samples: int,
    provenance: Mapping[str, Any],
    **more: Any,
) -> None:
    """Write a mAP protocol's results.

    Args:
        folder: the protocol's folder; its name is the protocol's.
        names: test samples.
        labels: (m, classes) in {1, -1, 0 = difficult}.
        scores: (m, classes), decision values.
        classes: class names.
        average_precision: (classes,), fractions.
        train_samples: training samples.
        provenance: see `e2mc.provenance.provenance`.
        more: further entries of metrics.json.

    Raises:
        E2MCError: a score is not finite.
    """
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise E2MCError(
            f"{folder.name}: the score of {names[row]} for {classes[column]} is "
            f"{scores[row, column]}; check the model that made the features"
        )
    rows = (
        (name, class_name, label, repr(score))
        for name, of_sample, values in zip(names, labels.tolist(), scores.tolist(), strict=True)
        for class_name, label, score in zip(classes, of_sample, values, strict=True)
    )
    write_csv(folder / layout.PREDICTIONS_FILE, ("sample", "class", "label", "score"), rows)
    per_class = [100 * float(value) for value in np.asarray(average_precision)]
    mean = float(np.mean(per_class))
    _write_metrics(
        folder,
        "mAP",
        last=mean,
        best=mean,
        best_epoch=None,
        classes=len(classes),
        train_samples=train_samples,
        test_samples=len(names),
        test_set=digest([list(names), labels.tolist()]),
        per_class=dict(zip(classes, per_class, strict=True)),
        **more,
        cost=cost(),
        provenance=provenance,
    )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file atomically, with Unix line ends."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_metrics(folder: Path, metric: str, **content: Any) -> None:
    head = {"protocol": folder.name, "metric": metric, "unit": "%"}
    written = (layout.PREDICTIONS_FILE, layout.CURVE_FILE, layout.DISTANCES_FILE)
    files = [folder / name for name in written if (folder / name).exists()]
    write_record(folder / layout.METRICS_FILE, {**head, **content}, files)
