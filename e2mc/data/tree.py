"""Whole data sets written at once: the folder is absent or complete."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

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
