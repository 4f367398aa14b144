"""Accuracy on subsets of the classes from subsets of the labels: the points of the map."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2mc.config.evaluation import Subsets
from e2mc.config.settings import ProtocolSettings
from e2mc.data.checks import refuse_impossible_subsets
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import open_pair
from e2mc.evaluation.few_shot import classify, labelled
from e2mc.evaluation.results import write_classification
from e2mc.provenance import provenance

NOWHERE = -1
"""Label of a class that is not in the subset."""


class Subset(NamedTuple):
    """Some classes, as they are told apart in one draw.

    Attributes:
        kind: `random`; `related`: of few coarse classes; `coarse`: coarse classes are the labels.
        classes: how many there are to tell apart.
        labels: (all classes,) label of each class, or `NOWHERE`.
    """

    kind: str
    classes: int
    labels: NDArray[np.int64]


def subsets(
    settings: ProtocolSettings[Subsets], train_index: Path, test_index: Path, output: Path
) -> None:
    """Classify the test images of every subset, from every number of labelled images per class.

    Every crop is a centre crop. An accuracy is the mean over draws of the classes and of the
    labelled images together; draws depend on the seed alone, so models are compared on the same
    ones. metrics.json has the accuracies under `points`; its own accuracy and the predictions are
    those of all classes from the largest number of labelled images.

    Args:
        settings: classifier, sizes, groups, shots, draws, seed.
        train_index: `index.json` of the training features.
        test_index: `index.json` of the test features.
        output: the protocol's folder.

    Raises:
        E2MCError: features that do not belong together, are zero or not finite, several labels per
            image, or what `refuse_impossible_subsets` refuses.
    """
    train, test = open_pair(train_index, test_index)
    options = settings.protocol
    if train.labels.ndim != 1:
        raise E2MCError(f"{train_index} has several labels per image; subsets need one")
    refuse_impossible_subsets(options, train.classes, train.labels)
    train_x, test_x = train.whole(), test.whole()
    draws = [list(_subsets(options, train.classes, settings.seed, n)) for n in range(options.draws)]
    counts = sorted(options.shots)
    chosen = {
        shots: [labelled(train, shots, settings.seed, draw) for draw in range(options.draws)]
        for shots in counts
    }
    points: list[dict[str, Any]] = []
    predictions: NDArray[np.int64] = np.empty(0, np.int64)
    for alike in zip(*draws, strict=True):
        truth = [subset.labels[test.labels] for subset in alike]
        for shots in counts:
            found = [
                _classified(options, subset, shots, (train_x[rows], train.labels[rows]), test_x)
                for subset, rows in zip(alike, chosen[shots], strict=True)
            ]
            points.append(_point(alike[0], shots, found, truth))
        if alike[0].kind == "random" and alike[0].classes == len(train.classes):
            predictions = np.stack(found)
    write_classification(
        output,
        names=test.names,
        labels=test.labels,
        predictions=predictions,
        classes=len(train.classes),
        train_samples=len(chosen[counts[-1]][0]),
        provenance=provenance(
            settings.model_dump(mode="json"), {"train": train_index, "test": test_index}
        ),
        draws=[100 * float(top1) for top1 in (predictions == test.labels).mean(axis=1)],
        points=points,
    )


def _subsets(options: Subsets, classes: Sequence[str], seed: int, draw: int) -> Iterator[Subset]:
    """One draw of every kind and size; smaller subsets are among the larger ones."""
    rng = np.random.default_rng([seed, draw, len(classes)])  # not the stream of the images
    order = rng.permutation(len(classes))
    for size in sorted(options.classes):
        yield _of("random", order[:size], len(classes))
    yield _of("random", np.arange(len(classes)), len(classes))
    if not options.groups:
        return
    members = [[classes.index(name) for name in group] for group in options.groups.values()]
    related = np.concatenate([rng.permutation(members[at]) for at in rng.permutation(len(members))])
    for size in sorted(options.classes):
        yield _of("related", related[:size], len(classes))
    labels = np.full(len(classes), NOWHERE)
    for label, group in enumerate(members):
        labels[group] = label
    yield Subset("coarse", len(members), labels)


def _of(kind: str, chosen: NDArray[np.int64], classes: int) -> Subset:
    labels = np.full(classes, NOWHERE)
    labels[chosen] = np.arange(len(chosen))
    return Subset(kind, len(chosen), labels)


def _classified(
    options: Subsets,
    subset: Subset,
    shots: int,
    train: tuple[NDArray[np.float16], NDArray[np.int64]],
    test_x: NDArray[np.float16],
) -> NDArray[np.int64]:
    """Predicted labels of all test images; those of classes outside the subset mean nothing."""
    x, y = train[0], subset.labels[train[1]]
    inside = y != NOWHERE
    return classify(options.classifier, x[inside], y[inside], test_x, shots, options)


def _point(
    subset: Subset,
    shots: int,
    predictions: Sequence[NDArray[np.int64]],
    truth: Sequence[NDArray[np.int64]],
) -> dict[str, Any]:
    draws = [
        100 * float((found == labels)[labels != NOWHERE].mean())
        for found, labels in zip(predictions, truth, strict=True)
    ]
    identity = {"subset": subset.kind, "classes": subset.classes, "shots": shots}
    return {**identity, "top1": float(np.mean(draws)), "draws": draws}
