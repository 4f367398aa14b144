"""Files that are absent or complete: atomic writes, hashes, and records that hold files to them."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

from e2mc.errors import E2MCError
from e2mc.process import exists, machine

_SILENT_SECONDS = 3600
"""A writer on another machine that has written nothing for so long has been killed."""


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that becomes ``path`` when the block succeeds.

    The temporary file is a sibling because renames are atomic only within one file system; it
    is flushed to disk before the rename, and removed when the block fails. Its name is unique,
    so two writers never share it. What killed writers of ``path`` have left is removed.

    Args:
        path: final name; parent folders are created.

    Raises:
        E2MCError: the folder cannot be written, or the disk is full.
    """
    path, here = Path(path), digest(machine())
    temporary = path.with_name(f".{path.name}.{here}.{os.getpid()}.{uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path, here)
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
        with suppress(OSError):  # a leftover is harmless, and hides no other error
            temporary.unlink()


def _clear(path: Path, here: str) -> None:
    """Remove the temporary files of killed writers: each may be as large as ``path`` itself."""
    for file in path.parent.glob(f".{escape(path.name)}.*.part"):
        match file.name.removeprefix(f".{path.name}.").split("."):
            case [host, pid, _, "part"] if pid.isdecimal():
                with suppress(OSError):  # another writer clears too, or the file is another user's
                    killed = not exists(int(pid)) if host == here else _is_silent(file)
                    if killed:
                        file.unlink()


def _is_silent(file: Path) -> bool:
    return time.time() - file.stat().st_mtime > _SILENT_SECONDS


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
    """Read JSON; a record (see :func:`sealed`) is held to its own hash.

    Raises:
        E2MCError: the file is missing, unreadable, no JSON, or not as it was written.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise E2MCError(f"{path} does not exist") from error
    except OSError as error:
        raise E2MCError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise E2MCError(f"{path} is not valid JSON ({error}); {_AGAIN}") from error
    if isinstance(content, dict) and SEAL in content and content[SEAL] != _seal(content):
        raise E2MCError(f"{path} has changed since it was written (`{SEAL}`); {_AGAIN}")
    return content


SEAL, FILES = "seal", "files"
"""Keys of a record: the hash of all its other entries, and name -> sha256 of the files it is about,
which lie beside it."""

_AGAIN = "delete it and run again"


def sealed(content: Mapping[str, Any], files: Iterable[Path] = ()) -> dict[str, Any]:
    """``content`` as a record: it tells whether it, and the files beside it, are as written."""
    record = {**content, FILES: {file.name: sha256(file) for file in files}}
    return {**record, SEAL: _seal(record)}


def write_record(path: Path | str, content: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
    """Write :func:`sealed` ``content``, after the files that it is about."""
    write_json(path, sealed(content, files))


def _seal(record: Mapping[str, Any]) -> str:
    # keys that are no text, and tuples, are what they will be when they are read
    plain = json.loads(json.dumps({key: record[key] for key in record if key != SEAL}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def record_of(path: Path) -> Path | None:
    """The record beside a file that is about it: by its own name, or `metrics.json`."""
    for record in (
        path.with_suffix(".json"),
        path.with_suffix(".metrics.json"),
        path.with_name("metrics.json"),
    ):
        with suppress(E2MCError):
            content = read_json(record)
            if isinstance(content, dict) and path.name in content.get(FILES, ()):
                return record
    return None


def check(path: Path) -> None:
    """Hold a file to the hash in its record; a file without a record is anybody's, and passes.

    Raises:
        E2MCError: it is not the file that was written.
    """
    record = record_of(path) if path.exists() else None
    if record is not None and read_json(record)[FILES][path.name] != sha256(path):
        raise E2MCError(
            f"{path} has changed since it was written: its sha256 is not the one in {record}. "
            "Bring it back from a copy; or start the workflow again, which makes it again"
        )


def changed(record: Path) -> list[str]:
    """Names of the files of a record that are there, and not as they were written.

    Raises:
        E2MCError: the record itself is damaged.
    """
    files = _files(record)
    there = {name: record.with_name(name) for name in files}
    return [name for name, file in there.items() if file.is_file() and sha256(file) != files[name]]


def missing(record: Path) -> list[str]:
    """Names of the files of a record that are not there.

    Raises:
        E2MCError: the record itself is damaged.
    """
    return [name for name in _files(record) if not record.with_name(name).is_file()]


def _files(record: Path) -> dict[str, str]:
    content = read_json(record)
    files: dict[str, str] = content.get(FILES, {}) if isinstance(content, dict) else {}
    return files


def sha256(path: Path | str) -> str:
    """Hexadecimal sha256 of a file, read in blocks.

    Raises:
        E2MCError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise E2MCError(f"cannot read {path}: {error.strerror}") from error


def digest(content: Any) -> str:
    """Sixteen hexadecimal digits that identify any JSON-serialisable content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
