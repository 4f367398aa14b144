"""PASCAL VOC 2007 classification as its devkit lies on disk.

Layout: ``JPEGImages/<id>.jpg`` and ``ImageSets/Main/<class>_{trainval,test}.txt``, whose lines are
an image id, one or two blanks, and 1 (present), -1 (absent) or 0 (only difficult objects).
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2mc.data.image_set import MultiLabelSet, Split, require_files, require_folder, some
from e2mc.errors import E2MCError

SETS = {"train": "trainval", "test": "test"}
_LINE = re.compile(r"(\S+) {1,2}(-1|0|1) *")


def open_voc07(root: Path, split: Split) -> MultiLabelSet:
    """Read one split.

    Args:
        root: folder `VOC2007` of the devkit.
        split: "train" is the paper's trainval (5,011 images), "test" is test (4,952).

    Returns:
        Classes in alphabetical order, images in the order of the class files.

    Raises:
        E2MCError: missing folders, class files or images; class files that differ between the
            splits or list different images; a line that is not in the devkit's format.
    """
    main = root / "ImageSets" / "Main"
    require_folder(main, "<class>_trainval.txt and <class>_test.txt")
    classes = _classes(main)
    columns: list[NDArray[np.int8]] = []
    images: list[str] = []
    for name in classes:
        source = main / f"{name}_{SETS[split]}.txt"
        identities, labels = _read(source)
        if columns and identities != images:
            lone = sorted(set(identities) ^ set(images))
            raise E2MCError(
                f"{source} does not list the images of {classes[0]}_{SETS[split]}.txt: "
                f"{some(lone) if lone else 'their order differs'}. Unpack the devkit again"
            )
        images = identities
        columns.append(labels)
    names = tuple(f"JPEGImages/{identity}.jpg" for identity in images)
    require_files(root, names, main / f"{classes[0]}_{SETS[split]}.txt")
    return MultiLabelSet(root, names, np.stack(columns, axis=1), classes)


def _classes(main: Path) -> tuple[str, ...]:
    found = {
        which: {path.name.removesuffix(f"_{which}.txt") for path in main.glob(f"*_{which}.txt")}
        for which in SETS.values()
    }
    if not found["trainval"]:
        raise E2MCError(f"{main} has no <class>_trainval.txt: is it VOC2007's ImageSets/Main?")
    lone = sorted(found["trainval"] ^ found["test"])
    if lone:
        raise E2MCError(
            f"{main}: {some(lone)} has only one of _trainval.txt and _test.txt. Both archives "
            "(VOCtrainval_06-Nov-2007 and VOCtest_06-Nov-2007) unpack into one VOCdevkit"
        )
    return tuple(sorted(found["trainval"]))


def _read(source: Path) -> tuple[list[str], NDArray[np.int8]]:
    identities: list[str] = []
    labels: list[int] = []
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise E2MCError(
                f"{source}, line {number}: {line!r} is not an image id, one or two blanks and "
                "1, -1 or 0. Restore the file from the devkit"
            )
        identities.append(match[1])
        labels.append(int(match[2]))
    if not identities:
        raise E2MCError(f"{source} is empty. Restore it from the devkit")
    if len(set(identities)) != len(identities):
        raise E2MCError(f"{source} lists an image twice. Restore it from the devkit")
    return identities, np.array(labels, np.int8)
