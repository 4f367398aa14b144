"""Is a data set what it should be? Asked before hours are spent on it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2mc.config.evaluation import Subsets
from e2mc.config.protocols import Original
from e2mc.config.settings import ImageNetSettings
from e2mc.data.decode import decode
from e2mc.data.image_set import ImageSet, LabelledImages, Split, some
from e2mc.data.imagenet import open_imagenet
from e2mc.data.labels import label_subset
from e2mc.errors import E2MCError
from e2mc.files import sha256


class Finding(NamedTuple):
    """One thing that was looked at: `message` says what was found, and the remedy if not `ok`."""

    subject: str
    ok: bool
    message: str


def check_splits(
    title: str, open_split: Callable[[Split], LabelledImages], original: Original | None = None
) -> list[Finding]:
    """Both splits; counts and known labels where the published data set is expected."""
    return _splits(title, open_split, original)[0]


def check_imagenet(
    settings: ImageNetSettings,
    original: Original | None = None,
    lists: Mapping[int, str] | None = None,
) -> list[Finding]:
    """Both splits as in :func:`check_splits`, and the label lists.

    Args:
        settings: where they lie.
        original: what is expected of the splits.
        lists: per cent -> sha256 that a label list must have; None: any.
    """
    findings, splits = _splits("ImageNet", lambda split: open_imagenet(settings, split), original)
    train = splits.get("train")
    if isinstance(train, ImageSet):
        for percent, path in settings.lists.items():
            wanted = lists.get(percent) if lists else None
            findings.append(_check_list(f"{percent} % list", path, train, wanted))
    return findings


def refuse_impossible_subsets(
    options: Subsets, classes: Sequence[str], labels: NDArray[np.integer[Any]]
) -> None:
    """Refuse points of the map that these training images cannot give.

    Args:
        options: sizes, groups, shots.
        classes: class names in label order.
        labels: of the training images.

    Raises:
        E2MCError: a subset as large as all classes, a group of unknown classes, or a class with
            fewer images than shots.
    """
    where = "evaluation.subsets"
    largest = max(options.classes, default=0)
    if largest >= len(classes):
        raise E2MCError(
            f"{where}.classes: a subset of {largest} classes, but there are {len(classes)} in all, "
            "which are always a point: name smaller ones"
        )
    named = {name for group in options.groups.values() for name in group}
    if unknown := sorted(named - set(classes)):
        raise E2MCError(f"{where}.groups: {some(unknown)}: no class of the data has this name")
    images = np.bincount(labels, minlength=len(classes))
    if images.min() < max(options.shots):
        raise E2MCError(
            f"{where}.shots: {max(options.shots)} labelled images, but class "
            f"{classes[int(images.argmin())]} has {images.min()} for training: ask for fewer"
        )


def corrupt_images(images: LabelledImages, workers: int = 1) -> Iterator[str]:
    """Decode every image; yield what is wrong with each one that cannot be decoded."""

    def problem(index: int) -> str | None:
        try:
            decode(images.path(index))
        except E2MCError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(workers) as pool:
        block = 1024  # a million futures at once would take gigabytes
        for first in range(0, len(images), block):
            found = pool.map(problem, range(first, min(first + block, len(images))))
            yield from (message for message in found if message is not None)


def _splits(
    subject: str, open_split: Callable[[Split], LabelledImages], expected: Original | None
) -> tuple[list[Finding], dict[Split, LabelledImages]]:
    findings: list[Finding] = []
    opened: dict[Split, LabelledImages] = {}
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        name = f"{subject} {split}"
        try:
            opened[split] = images = open_split(split)
        except E2MCError as error:
            findings.append(Finding(name, False, str(error)))
            continue
        counts = f"{len(images):,} images of {len(images.classes):,} classes in {images.root}"
        findings.append(Finding(name, True, counts))
        if expected is not None:
            wanted = expected.train if split == "train" else expected.test
            findings[-1] = _check_counts(findings[-1], images, wanted, expected)
            findings += _check_labels(name, images, expected.labels)
    if expected is not None and len(opened) == len(splits):
        findings += _check_presence(subject, opened.values(), expected.labels)
    return findings, opened


def _check_counts(
    found: Finding, images: LabelledImages, count: int, expected: Original
) -> Finding:
    wrong = None
    if (len(images), len(images.classes)) != (count, expected.classes):
        wrong = f"expected {count:,} of {expected.classes:,}"
    elif expected.folders is not None:
        names = "".join(f"{name}\n" for name in images.classes)
        if hashlib.sha256(names.encode()).hexdigest() != expected.folders:
            wrong = "the names of the class folders are not the original's: labels would differ"
    if wrong is None:
        return found
    return Finding(found.subject, False, f"{found.message}; {wrong}. Unpack the archives again")


def _check_labels(
    subject: str, images: LabelledImages, expected: Mapping[str, int]
) -> Iterator[Finding]:
    position = {name: index for index, name in enumerate(images.names) if name in expected}
    for name, index in position.items():
        row = images.labels[index]
        carried = np.flatnonzero(row == 1).tolist() if row.ndim else [int(row)]
        if expected[name] not in carried:
            yield Finding(
                subject,
                False,
                f"{name} has label {carried}, expected {expected[name]}: class folders or lists "
                "were renamed or reordered",
            )


def _check_presence(
    subject: str, splits: Iterable[LabelledImages], expected: Mapping[str, int]
) -> Iterator[Finding]:
    missing = set(expected).difference(*(images.names for images in splits))
    if missing:
        yield Finding(
            subject,
            False,
            f"{some(sorted(missing))} of the original data set is not there: files or folders were "
            "renamed or left out. Unpack the archives again",
        )


def _check_list(subject: str, path: Path, train: ImageSet, digest: str | None) -> Finding:
    try:
        subset = label_subset(path, train)
    except E2MCError as error:
        return Finding(subject, False, str(error))
    absent = len(train.classes) - len(np.unique(train.labels[subset]))
    if absent:
        return Finding(subject, False, f"{path} has no image of {absent} class(es)")
    if digest is not None and sha256(path) != digest:
        return Finding(
            subject,
            False,
            f"{path} is not the list of google-research/simclr (sha256 {digest}). Fetch it again",
        )
    return Finding(subject, True, f"{len(subset):,} images on {path}")
