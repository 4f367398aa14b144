"""Is a data set what it should be? Asked before hours are spent on it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from e2mc.config.settings import ImageNetSettings
from e2mc.data.decode import decode
from e2mc.data.image_set import ImageSet, LabelledImages, Split, some
from e2mc.data.imagenet import open_imagenet
from e2mc.data.inat18 import open_inat18
from e2mc.data.labels import label_subset
from e2mc.data.voc07 import open_voc07
from e2mc.errors import E2MCError
from e2mc.files import sha256


class Finding(NamedTuple):
    """One thing that was looked at: `message` says what was found, and the remedy if not `ok`."""

    subject: str
    ok: bool
    message: str


class Expected(NamedTuple):
    """What the original data set holds.

    Attributes:
        classes: number of classes.
        train: training images.
        test: test images.
        labels: sample name of either split -> a class index that it must carry.
        lists: per cent -> sha256 of the label list.
        folders: sha256 of the class folders' sorted names, each with a newline; None: any names.
    """

    classes: int
    train: int
    test: int
    labels: Mapping[str, int] = {}
    lists: Mapping[int, str] = {}
    folders: str | None = None


IMAGENET = Expected(
    classes=1000,
    train=1_281_167,
    test=50_000,
    labels={
        "val/n01751748/ILSVRC2012_val_00000001.JPEG": 65,
        "val/n09193705/ILSVRC2012_val_00000002.JPEG": 970,
        "val/n02105855/ILSVRC2012_val_00000003.JPEG": 230,
    },
    folders="70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15",
)
"""ImageNet-1k; the hashes of the label lists are in the registry of downloads.

Labels: `val_map.txt` as microsoft/Swin-Transformer prints its head (get_started.md), checked
against the sorted folder names of a real copy, whose hash stands here too.
"""

INAT18 = Expected(
    classes=8142,
    train=437_513,
    test=24_426,
    labels={
        "train_val2018/Plantae/7477/3b60c9486db1d2ee875f11a669fbde4a.jpg": 7477,
        "train_val2018/Aves/2820/22c733d9199c35d2578232e3997e3da0.jpg": 2820,
        "train_val2018/Arachnida/19/d17a9a6932315e5a1261659002c60a9f.jpg": 19,
    },
)
"""iNaturalist 2018; labels as in the training lists of the long-tail literature (e.g.
`iNaturalist18_train.txt` of Pepper-lll/NCfeature)."""

VOC07 = Expected(
    classes=20,
    train=5011,
    test=4952,
    labels={
        "JPEGImages/000005.jpg": 8,
        "JPEGImages/000007.jpg": 6,
        "JPEGImages/000001.jpg": 11,
    },
)
"""PASCAL VOC 2007: a chair, a car, and in the test set a dog.

Checked against the boxes that several public detectors list for these three images.
"""


def check_imagenet(settings: ImageNetSettings, expected: Expected | None = None) -> list[Finding]:
    """Both splits and the label lists; counts and known labels where `expected` is given."""
    findings, splits = _splits("ImageNet", lambda split: open_imagenet(settings, split), expected)
    train = splits.get("train")
    if isinstance(train, ImageSet):
        for percent, path in settings.lists.items():
            wanted = expected.lists.get(percent) if expected else None
            findings.append(_check_list(f"{percent} % list", path, train, wanted))
    return findings


def check_inat18(root: Path, expected: Expected | None = None) -> list[Finding]:
    """Both splits; counts and known labels where `expected` is given."""
    return _splits("iNat18", lambda split: open_inat18(root, split), expected)[0]


def check_voc07(root: Path, expected: Expected | None = None) -> list[Finding]:
    """Both splits; counts and known labels where `expected` is given."""
    return _splits("VOC07", lambda split: open_voc07(root, split), expected)[0]


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
    subject: str, open_split: Callable[[Split], LabelledImages], expected: Expected | None
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
    found: Finding, images: LabelledImages, count: int, expected: Expected
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
