"""Files that are absent or complete: atomic writes and hashes."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from e2mc.errors import E2MCError


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that becomes ``path`` when the block succeeds.

    The temporary file is a sibling because renames are atomic only within one file system; it
    is flushed to disk before the rename, and removed when the block fails. Its name is unique,
    so two writers never share it.

    Args:
        path: final name; parent folders are created.

    Raises:
        E2MCError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None and Path(error.filename) not in (
            temporary,
            path,
            path.parent,
        ):
            raise
        raise E2MCError(_cannot_write(path, error)) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


def _cannot_write(path: Path, error: OSError) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free / 2**30
    return (
        f"cannot write {path}: {error.strerror or error}. {folder} has {free:.1f} GiB free; "
        "check that it is writable and not full, then start again: finished results are kept."
    )


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` to ``path`` atomically (UTF-8)."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write ``content`` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON; a missing or damaged file is an :class:`E2MCError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise E2MCError(f"{path} does not exist") from error
    except json.JSONDecodeError as error:
        raise E2MCError(f"{path} is not valid JSON ({error}); delete it and run again") from error


def sha256(path: Path | str) -> str:
    """Hexadecimal sha256 of a file, read in blocks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Sixteen hexadecimal digits that identify any JSON-serialisable content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
