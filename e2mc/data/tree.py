"""Whole data sets written at once: the folder is absent or complete."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from e2mc.config.experiment import ImageNetData
from e2mc.errors import E2MCError
from e2mc.files import write_json, write_text

MARKER = "prepared.json"
"""Stands in every folder that was written here; a folder without it is never replaced."""


def write_tree(root: Path, origin: str, write: Callable[[Path], dict[str, int]]) -> dict[str, int]:
    """Write a folder under a sibling's name, then rename it.

    Args:
        root: the folder; replaced if it was written here before.
        origin: what the data are, kept in the marker.
        write: fills the folder given to it and returns counts.

    Raises:
        E2MCError: `root` holds something else, or cannot be written.
    """
    if root.exists() and not (root.is_dir() and _replaceable(root)):
        raise E2MCError(
            f"{root} exists and was not written by this project, so it is left alone. To use it "
            "as it is, set `data.prepare` to null; to prepare data, choose another folder"
        )
    part, old = (root.with_name(f".{root.name}.{state}") for state in ("part", "old"))
    try:
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
        part.mkdir(parents=True)
        counts = write(part)
        write_json(part / MARKER, {"origin": origin, **counts})
        if root.exists():
            root.rename(old)
        part.rename(root)
    except OSError as error:
        raise E2MCError(
            f"cannot write the data set {root}: {error.strerror or error}. Check that the disk "
            "is writable and not full, then start again"
        ) from error
    finally:
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return counts


def _replaceable(root: Path) -> bool:
    return (root / MARKER).exists() or not any(root.iterdir())


FOLDERS = {"train": "train", "test": "val"}
"""Split -> its folder in a tree that is written here."""


class NamedImage(NamedTuple):
    """One image of a source: its class, the suffix of its file, and its bytes."""

    category: str
    suffix: str
    content: bytes


def write_images(
    part: Path,
    imagenet: ImageNetData,
    images: Callable[[str], Iterable[NamedImage]],
    per_class: int | None,
) -> dict[str, int]:
    """Write `train/<class>/*`, `val/<class>/*` and class-balanced label lists.

    Args:
        part: the folder to fill, which becomes `imagenet.root`.
        imagenet: where the label lists go.
        images: the images of "train" or "test".
        per_class: training images to keep of each class, the first ones; None: all.

    Returns:
        Counts of classes and images.
    """
    counts: dict[str, int] = {}
    for split, folder in FOLDERS.items():
        names: dict[str, list[str]] = {}
        for category, suffix, content in images(split):
            kept = names.setdefault(category, [])
            if split == "train" and len(kept) == per_class:
                continue
            kept.append(f"{category}_{split}_{len(kept):05d}{suffix}")
            (part / folder / category).mkdir(parents=True, exist_ok=True)
            (part / folder / category / kept[-1]).write_bytes(content)
        counts[split] = sum(len(kept) for kept in names.values())
        if split == "train":
            ordered = [names[category] for category in sorted(names)]
            lists = label_lists(ordered, sorted(imagenet.lists), seed=0)
            write_lists(lists, imagenet.lists, imagenet.root, part)
            counts["classes"] = len(names)
    return counts


def label_lists(
    files: Sequence[Sequence[str]], percents: Sequence[int], seed: int
) -> dict[int, list[str]]:
    """Class-balanced label lists, the smaller inside the larger, in no particular order.

    Args:
        files: file names of each class.
        percents: shares of all files; at least one file of each class is taken.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    shuffled = [[names[i] for i in rng.permutation(len(names))] for names in files]
    lists = {}
    for percent in percents:
        count = round(sum(len(names) for names in files) * percent / 100)
        share, rest = divmod(max(count, len(files)), len(files))
        chosen = [
            name for label, names in enumerate(shuffled) for name in names[: share + (label < rest)]
        ]
        lists[percent] = [chosen[i] for i in rng.permutation(len(chosen))]
    return lists


def write_lists(
    lists: Mapping[int, Sequence[str]], paths: Mapping[int, Path], root: Path, part: Path
) -> None:
    """Write label lists; those that belong into `root` go into `part`, which will become it."""
    for percent, path in paths.items():
        inside = path.is_relative_to(root)
        target = part / path.relative_to(root) if inside else path
        write_text(target, "".join(f"{name}\n" for name in lists[percent]))
