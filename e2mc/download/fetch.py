"""A file of the registry: downloaded or found in place, and held to its hash."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from e2mc import files
from e2mc.download.file import download
from e2mc.download.pins import PINS, Pin, pin, read_pins
from e2mc.download.registry import REGISTRY, PublicFile
from e2mc.errors import E2MCError


def fetch(
    file: PublicFile,
    folder: Path | str,
    reader: Callable[[Path], object] | None = None,
    pins: Path | str = PINS,
) -> Path:
    """Download a public file, or find it in place, and hold it to its hash.

    The hash is that of the registry, else the one in ``pins``; if there is neither, the measured
    one is pinned, and said so. A file is hashed once as long as it does not change.

    Args:
        file: row of the registry.
        folder: where the file goes.
        reader: opens a file without a known hash and raises :class:`E2MCError` where it cannot;
            nothing is pinned that it does not open, nor anything without it.
        pins: file of the pins.

    Returns:
        ``file.path(folder)``.

    Raises:
        E2MCError: wrong hash or length, a file that ``reader`` cannot open, or no source gave the
            file.
    """
    path = file.path(folder)
    known = read_pins(pins).get(file.name) if file.sha256 is None else None
    sha256, size = (known.sha256, known.bytes) if known else (file.sha256, file.bytes)
    remedy = (
        f"\nThe hash of {file.name} is from {pins if known else REGISTRY}. If the publisher "
        "replaced the file and you trust the new one, delete it there."
    )
    if sha256 is not None:
        reader = None
    elif reader is None:
        raise E2MCError(f"no hash of {file.name} is known yet: run `e2mc fetch {file.name}` first")
    try:
        _place(file, path, sha256, size, reader)
    except E2MCError as error:
        raise E2MCError(f"{error}{remedy if 'expected' in str(error) else ''}") from error
    measured = Pin(_hash_once(path), path.stat().st_size, file.url)
    if sha256 is None:
        sha256, size, _ = pin(file.name, measured, Path(pins))
    if measured.sha256 != sha256 or size not in (None, measured.bytes):
        raise E2MCError(
            f"{path} has the wrong checksum or size: expected sha256 {sha256}, found "
            f"{measured.sha256} ({measured.bytes} bytes). Move it away to have it downloaded."
            f"{remedy}"
        )
    return path


def _place(
    file: PublicFile,
    path: Path,
    sha256: str | None,
    size: int | None,
    reader: Callable[[Path], object] | None,
) -> None:
    if not path.exists():
        download(file.url, path, sha256=sha256, size=size, mirrors=file.mirrors, reader=reader)
    elif reader is not None:
        reader(path)


def _hash_once(path: Path) -> str:
    """The file's sha256, kept beside it until its size or time changes."""
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    record = path.with_name(f".{path.name}.verified")
    try:
        known = files.read_json(record)
        if known["state"] == state:
            return str(known["sha256"])
    except (E2MCError, KeyError, TypeError):
        pass
    measured = files.sha256(path)
    with suppress(E2MCError):  # a folder that only others may write: hash again next time
        files.write_json(record, {"state": state, "sha256": measured})
    return measured
