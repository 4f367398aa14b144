"""What a file was when it was first seen here, for files whose publisher states no hash.

No hash of an official checkpoint is published. The first one measured is therefore pinned in
``config/checkpoints.lock.csv`` and enforced ever after.
"""

import csv
from pathlib import Path
from typing import NamedTuple

from e2mc import files
from e2mc.download.registry import read_rows
from e2mc.errors import E2MCError
from e2mc.lock import locked

PINS = Path("config/checkpoints.lock.csv")
_COLUMNS = ("name", "sha256", "bytes", "url")


class Pin(NamedTuple):
    """What a file was when it was first seen here."""

    sha256: str
    bytes: int
    url: str


def read_pins(path: Path | str = PINS) -> dict[str, Pin]:
    """Pins by the name of the file; none if nothing was pinned yet.

    Raises:
        E2MCError: the file is damaged.
    """
    if not Path(path).exists():
        return {}
    try:
        return {
            row["name"]: Pin(row["sha256"], int(row["bytes"]), row["url"])
            for row in read_rows(Path(path))
        }
    except (KeyError, ValueError, TypeError) as error:
        raise E2MCError(
            f"{path} is damaged ({error}); its columns are {', '.join(_COLUMNS)}"
        ) from error


def pin(name: str, measured: Pin, path: Path) -> Pin:
    """Record ``measured`` unless another process was faster; return what is recorded."""
    with locked(path.with_name(f".{path.name}.lock")):
        pins = read_pins(path)
        if name in pins:
            return pins[name]
        pins[name] = measured
        with files.atomic_write(path) as temporary:
            _write(temporary, pins)
    print(
        f"{name}: no hash is published. Its sha256 {measured.sha256} ({measured.bytes} bytes) is "
        f"now pinned in {path} and enforced from here on; commit that file to hold others to it."
    )
    return measured


def _write(path: Path, pins: dict[str, Pin]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((name, *one) for name, one in sorted(pins.items()))
