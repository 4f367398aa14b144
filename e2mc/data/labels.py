"""Label subsets in SimCLR's format: one file name per line."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from e2mc.data.image_set import ImageSet, some
from e2mc.errors import E2MCError


def read_list(path: Path) -> list[str]:
    """File names of a label list, in its order.

    Raises:
        E2MCError: the list is missing, not text, empty, or names a file twice.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise E2MCError(
            f"cannot read the label list {path}: {error.strerror}. ImageNet's lists are "
            "imagenet_subsets/{1,10}percent.txt of google-research/simclr"
        ) from error
    except UnicodeDecodeError as error:
        raise E2MCError(f"label list {path} is not a text file: one file name per line") from error
    lines = [line for line in lines if line]
    if not lines:
        raise E2MCError(f"label list {path} is empty: expected one file name per line")
    repeated = [name for name, count in Counter(lines).items() if count > 1]
    if repeated:
        raise E2MCError(
            f"label list {path} names {len(repeated)} file(s) more than once: {some(repeated)}. "
            "Remove the repeated lines"
        )
    return lines


def label_subset(list_path: Path, image_set: ImageSet) -> NDArray[np.int64]:
    """Indices of the listed images in `image_set.names`, in the list's order.

    A line is a bare file name as in SimCLR's lists, or ``<class>/<file name>`` where file names
    repeat across classes.

    Raises:
        E2MCError: see :func:`read_list`; or a line names no image, or several.
    """
    lines = read_list(list_path)
    by_name: dict[str, int] = {}
    ambiguous: set[str] = set()
    for index, name in enumerate(image_set.names):
        path = PurePosixPath(name)
        if path.name in by_name:
            ambiguous.add(path.name)
        by_name[path.name] = index
        by_name[f"{path.parent.name}/{path.name}"] = index
    unknown = [line for line in lines if line not in by_name]
    if unknown:
        raise E2MCError(
            f"label list {list_path} names {len(unknown)} of {len(lines)} files that are not "
            f"among the training images in {image_set.root}: {some(unknown)}. The list belongs "
            "to another data set, or images are missing"
        )
    unclear = [line for line in lines if line in ambiguous]
    if unclear:
        raise E2MCError(
            f"label list {list_path}: {some(unclear)} exist(s) in several class folders. "
            "Write <class>/<file name>"
        )
    return np.array([by_name[line] for line in lines], np.int64)


def listed(images: ImageSet, lists: Mapping[int, Path], percent: int) -> ImageSet:
    """The images on the list of a share of the labels, in the list's order.

    Raises:
        E2MCError: there is no such list; see also :func:`label_subset`.
    """
    if percent not in lists:
        raise E2MCError(f"no list of {percent} % of the labels: set data.imagenet.lists.{percent}")
    rows = label_subset(lists[percent], images)
    names = tuple(images.names[row] for row in rows)
    return ImageSet(images.root, names, images.labels[rows], images.classes)
