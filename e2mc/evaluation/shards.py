"""Shards of cached features: float16 files of shape (crops, samples, dim), each with a receipt.

The receipt of `shard-0000.npy` is `shard-0000.json`, written after it: what the shard was made
from, its hash and how long it took. A shard without a valid receipt is made again. Nothing here
needs torch.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2mc.errors import E2MCError
from e2mc.files import atomic_write, read_json, sha256, write_json

REMEDY = "delete the folder and extract the features again"
PATIENCE = 3600.0


@dataclass(frozen=True)
class Shard:
    """Consecutive samples of all crops in one file, and the seconds that one process took."""

    file: str
    first: int
    count: int
    sha256: str
    seconds: float = 0.0


class Receipt(NamedTuple):
    """What is known of a shard that is complete."""

    sha256: str
    seconds: float


def load_shard(path: Path, shape: Sequence[int]) -> NDArray[np.float16]:
    """Memory-map a shard.

    Raises:
        E2MCError: the file is missing, damaged or of another shape.
    """
    try:
        # A view of the plain class: np.memmap slows every slice down.
        array = np.asarray(np.load(path, mmap_mode="r"))
    except FileNotFoundError as error:
        raise E2MCError(f"shard {path} is missing; {REMEDY}") from error
    except (OSError, ValueError, EOFError) as error:
        raise E2MCError(f"shard {path} is cut short or damaged ({error}); {REMEDY}") from error
    if array.shape != tuple(shape) or array.dtype != np.float16:
        raise E2MCError(
            f"shard {path} holds {array.dtype} {array.shape} instead of float16 {tuple(shape)}; "
            f"{REMEDY}"
        )
    return array


def shard_path(folder: Path, number: int) -> Path:
    """File of a shard; its receipt has the same name with `.json`."""
    return folder / f"shard-{number:04d}.npy"


def write_shard(path: Path, array: NDArray[np.float16], source: str, seconds: float = 0.0) -> None:
    """Write a shard, then its receipt.

    Args:
        path: of the shard.
        array: (crops, samples, dim).
        source: digest of what it was made from.
        seconds: it took to make.
    """
    path.with_suffix(".json").unlink(missing_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
    written = {"source": source, "sha256": sha256(path), "seconds": round(seconds, 2)}
    write_json(path.with_suffix(".json"), written)


def receipt(path: Path, source: str) -> Receipt | None:
    """The receipt of a shard that is complete, unchanged and made from ``source``; else None."""
    try:
        content = read_json(path.with_suffix(".json"))
        valid = content["source"] == source and sha256(path) == content["sha256"]
    except (E2MCError, KeyError, TypeError, OSError):
        return None
    return Receipt(content["sha256"], content.get("seconds", 0.0)) if valid else None


def collect_shards(
    folder: Path, bounds: Sequence[tuple[int, int]], source: str, patience: float = PATIENCE
) -> list[Shard]:
    """All shards of a folder, waiting for those that other processes are making.

    Args:
        folder: where the shards lie.
        bounds: first image of each shard, and the one after its last.
        source: digest of what they are made from.
        patience: seconds without a new shard after which to give up.

    Raises:
        E2MCError: a shard did not come.
    """
    receipts: dict[int, Receipt] = {}
    arrived = time.monotonic()
    while True:
        for number in set(range(len(bounds))) - set(receipts):
            found = receipt(shard_path(folder, number), source)
            if found is not None:
                receipts[number], arrived = found, time.monotonic()
        missing = sorted(set(range(len(bounds))) - set(receipts))
        if not missing:
            break
        if time.monotonic() - arrived > patience:
            raise E2MCError(
                f"{folder}: {len(missing)} of {len(bounds)} shards did not come (first: number "
                f"{missing[0]}): another process has stopped. Start the extraction again; "
                "finished shards are kept"
            )
        time.sleep(1)
    for path in set(folder.glob("shard-*.npy")) - {shard_path(folder, n) for n in receipts}:
        path.unlink()
        path.with_suffix(".json").unlink(missing_ok=True)
    return [
        Shard(shard_path(folder, number).name, first, last - first, *receipts[number])
        for number, (first, last) in enumerate(bounds)
    ]
