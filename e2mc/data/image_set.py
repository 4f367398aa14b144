"""What every data set is once its layout on disk has been read: names, labels, classes."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from pkgutil import resolve_name
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2mc.config.protocols import dataset_of
from e2mc.config.settings import ImageNetSettings
from e2mc.errors import E2MCError

Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images on disk in a fixed order.

    Attributes:
        root: folder that `names` are relative to.
        names: sample identities: POSIX paths relative to `root`.
        labels: one row per name.
        classes: class names in label order.
    """

    root: Path
    names: tuple[str, ...]
    labels: NDArray[np.int64] | NDArray[np.int8]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """File of one sample."""
        return self.root / self.names[index]


@dataclass(frozen=True, eq=False)
class ImageSet(LabelledImages):
    """Classification: `labels` is (n,) int64, indices into `classes`."""

    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MultiLabelSet(LabelledImages):
    """Several objects per image: `labels` is (n, classes) int8: 1, -1 absent, 0 difficult."""

    labels: NDArray[np.int8]


def open_images(dataset: str, data: ImageNetSettings | Path, split: Split) -> LabelledImages:
    """Read one split of an evaluation data set by the loader that its record names.

    Args:
        dataset: its name.
        data: what the loader is given, `stages.data_settings`.
        split: "train" or "test".

    Raises:
        E2MCError: the layout is not what the loader expects.
    """
    images: LabelledImages = resolve_name(dataset_of(dataset).opener)(data, split)
    return images


def require_folder(folder: Path, what: str) -> None:
    """Raise an :class:`E2MCError` that says what is expected in a folder that is not there."""
    if not folder.is_dir():
        raise E2MCError(
            f"no folder {folder}: expected {what}. Put the data there or correct the path"
        )


def require_files(root: Path, names: Iterable[str], source: Path) -> None:
    """Raise an :class:`E2MCError` if any of the named files is missing.

    Lists each folder once: half a million single look-ups take minutes on a network disk.
    """
    wanted: dict[str, set[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        wanted.setdefault(str(path.parent), set()).add(path.name)
    missing: list[str] = []
    for folder, files in wanted.items():
        present = _listed(root / folder)
        missing += [f"{folder}/{name}" for name in sorted(files - present)]
    if missing:
        raise E2MCError(
            f"{source} names {len(missing)} image(s) that are not in {root}: {some(missing)}. "
            "Unpack the archive again, or correct the path"
        )


def _listed(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()


def some(items: Sequence[str], shown: int = 3) -> str:
    """The first few items for a message."""
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")
