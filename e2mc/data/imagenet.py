"""ImageNet, and every other data set of class folders.

Layout: ``train/<class>/*.JPEG`` and ``val/<class>/*.JPEG``; labels are the positions of the class
names in sorted order, as in torchvision's ``ImageFolder`` and all official code.
"""

import os
import sys
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from e2mc.config.settings import ImageNetSettings
from e2mc.data.image_set import ImageSet, Split, require_folder, some
from e2mc.data.labels import read_list
from e2mc.errors import E2MCError

EXTENSIONS = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
CONVERT = f"images are {' '.join(EXTENSIONS)}: convert what is one, and remove the rest"


def open_imagenet(settings: ImageNetSettings, split: Split) -> ImageSet:
    """Read the folder tree.

    Args:
        settings: `root`; and `validation_fraction`, which holds out that share of the training
            images by a hash of their file names. Held-out images are then the "test" split, are
            excluded from "train", and `val` is never opened. Images on a label list are never
            held out, so the lists stay whole.
        split: "train" or "test".

    Returns:
        Names sorted by class, then by file name.

    Raises:
        E2MCError: missing or empty folders, class folders that differ between the splits,
            nothing held out.
    """
    held_out = settings.validation_fraction
    folder = "val" if split == "test" and held_out is None else "train"
    image_set = _read(settings.root, folder, other="val" if folder == "train" else "train")
    if held_out is None:
        return image_set
    listed = {line for path in settings.lists.values() for line in read_list(path)}
    return _part(image_set, held_out, listed, keep_held_out=split == "test")


def open_tree(root: Path, split: Split) -> ImageSet:
    """Read any folder of class folders; the test images are in `test`, else in `val`.

    Args:
        root: folder of both splits.
        split: "train" or "test".

    Returns:
        Names sorted by class, then by file name.

    Raises:
        E2MCError: missing or empty folders, or class folders that differ between the splits.
    """
    test = "test" if (root / "test").is_dir() else "val"
    return _read(root, *(("train", test) if split == "train" else (test, "train")))


def _read(root: Path, folder: str, other: str) -> ImageSet:
    classes = _classes(root / folder)
    _require_same_classes(root, classes, folder, other)
    names, labels, others = [], [], []
    for label, name in enumerate(classes):
        files, left_out = _images(root / folder / name)
        names += [f"{folder}/{name}/{file}" for file in files]
        labels += [label] * len(files)
        others += [f"{name}/{file}" for file in left_out]
    if others:
        _warn(f"{_told(root / folder, others)}: {CONVERT}")
    return ImageSet(root, tuple(names), np.asarray(labels, np.int64), classes)


def left_out(folder: Path) -> str | None:
    """What lies in the class folders of a split and is no image by its name; None: nothing."""
    others = [f"{name}/{file}" for name in _classes(folder) for file in _images(folder / name)[1]]
    return _told(folder, others) if others else None


def _told(folder: Path, others: list[str]) -> str:
    return f"{len(others)} file(s) in the class folders of {folder} are left out: {some(others)}"


def _classes(folder: Path) -> tuple[str, ...]:
    require_folder(folder, "one folder per class")
    try:
        classes = sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.is_dir() and not entry.name.startswith(".")
        )
    except OSError as error:
        raise E2MCError(
            f"cannot read {error.filename or folder}: {error.strerror}; remove or repair it"
        ) from error
    if not classes:
        flat = any(path.suffix.lower() in EXTENSIONS for path in folder.iterdir())
        advice = (
            "; its images lie there without: ImageNet's validation archive is so, and has to be "
            "sorted by the published labels, as many `valprep` scripts do"
        )
        expected = f"{folder} has no class folders: expected {folder}/<class>/<image>"
        raise E2MCError(f"{expected}{advice if flat else ''}")
    return tuple(classes)


def _require_same_classes(root: Path, classes: tuple[str, ...], opened: str, other: str) -> None:
    if not (root / other).is_dir():
        return
    others = _classes(root / other)
    if others != classes:
        lone = sorted(set(classes) ^ set(others))
        raise E2MCError(
            f"{root / opened} and {root / other} have different class folders: {some(lone)} "
            "in one of them only. Labels would not agree: rename or remove the folders that differ"
        )


def _images(folder: Path) -> tuple[list[str], list[str]]:
    """Images of one class, and what lies there and is none by its name."""
    files = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    images = [name for name in files if name.lower().endswith(EXTENSIONS)]
    if not images:
        raise E2MCError(
            f"class folder {folder} holds no image: fill it, or remove the class; {CONVERT}"
        )
    return images, [name for name in files if not name.lower().endswith(EXTENSIONS)]


@cache
def _warn(message: str) -> None:
    """Once per process, however often a data set is opened."""
    print(f"WARNING: {message}", file=sys.stderr, flush=True)


def _part(
    image_set: ImageSet, fraction: float, listed: set[str], *, keep_held_out: bool
) -> ImageSet:
    def held_out(name: str) -> bool:
        _, folder, file = name.split("/")
        if file in listed or f"{folder}/{file}" in listed:
            return False
        number = int.from_bytes(blake2b(file.encode(), digest_size=8).digest(), "big")
        return number < fraction * 2**64

    kept = [i for i, name in enumerate(image_set.names) if held_out(name) == keep_held_out]
    if not kept:
        raise E2MCError(
            f"data.validation_fraction = {fraction} leaves no image for one of the two parts of "
            f"{image_set.root / 'train'}: choose another fraction, or shorter label lists"
        )
    names = tuple(image_set.names[i] for i in kept)
    return ImageSet(image_set.root, names, image_set.labels[kept], image_set.classes)
