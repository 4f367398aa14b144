"""The data sets that the project writes itself."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from e2mc.config.experiment import Data
from e2mc.data import digits, scenes
from e2mc.data.cifar10 import prepare_cifar10
from e2mc.data.imagenet32 import prepare_imagenet32
from e2mc.data.tree import label_lists, write_lists, write_tree
from e2mc.download.fetch import fetch
from e2mc.download.registry import find

Summary = dict[str, dict[str, int]]

CIFAR10_FOLDER = Path("data/cifar10")
"""Where the downloaded archive is kept for all experiments, relative to the repository's root."""
IMAGENET32_FOLDER = Path("data/tiny-imagenet")
"""The same of Tiny ImageNet."""


def prepare(data: Data) -> Summary:
    """Write what `data.prepare` names.

    Returns:
        Data set -> counts of classes and of images per split; empty if nothing is to prepare.

    Raises:
        E2MCError: a folder holds other data, or cannot be written; no source of CIFAR-10 or Tiny
            ImageNet.
    """
    if data.prepare == "digits":
        return prepare_digits(data)
    if data.prepare == "cifar10":
        (archive,) = find("cifar10")
        source = data.cifar10_source or fetch(archive, CIFAR10_FOLDER)
        return prepare_cifar10(data.imagenet, source, archive.sha256, data.cifar10_per_class)
    if data.prepare == "imagenet32":
        (archive,) = find("tiny-imagenet")
        source = data.imagenet32_source or fetch(archive, IMAGENET32_FOLDER)
        return prepare_imagenet32(data.imagenet, source, archive.sha256, data.imagenet32_per_class)
    return {}


def prepare_digits(data: Data) -> Summary:
    """Write scikit-learn's digits in the layouts of ImageNet, iNaturalist 2018, VOC2007 and a tree.

    Each folder is absent or complete, and its bytes are the same every time. Test images and
    test scenes are made of digits that no training image shows.

    Args:
        data: root and label lists of the first (the lists are nested, every class is on each),
            folders of the others, which are not written where there is none. Of the folder trees
            only `inverted` is written.
    """
    splits, imagenet = digits.split_digits(), data.imagenet

    def write_imagenet(part: Path) -> dict[str, int]:
        counts, names = digits.write_imagenet(part, splits)
        lists = label_lists(names, sorted(imagenet.lists), seed=0)
        write_lists(lists, imagenet.lists, imagenet.root, part)
        return counts

    summary = {"imagenet": write_tree(imagenet.root, _ORIGIN, write_imagenet)}
    for name, write in _OTHERS.items():
        if root := data.root(name):
            summary[name] = write_tree(root, _ORIGIN, partial(write, splits=splits))
    return summary


_OTHERS: dict[str, Callable[..., dict[str, int]]] = {
    "inat18": digits.write_inat18,
    "voc07": scenes.write_voc07,
    "inverted": digits.write_inverted,
}
"""Data set or folder tree -> what writes it."""

_ORIGIN = "scikit-learn's bundled handwritten digits"
