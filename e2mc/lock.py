"""Locks that need only a file: safe between processes and between hosts of one file system.

``flock`` silently succeeds on some cluster file systems, so a lock here is a file created
exclusively. It names its holder and is touched by it every few seconds; a lock whose holder is
dead, or silent for two minutes, is taken over.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from e2mc import process
from e2mc.errors import E2MCError
from e2mc.files import write_text

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
_POLL_SECONDS = 0.2


@contextmanager
def locked(path: Path | str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs.

    Args:
        path: the lock file itself; its folder is created.
        wait: wait for another holder to finish, or refuse as soon as it shows that it lives
            (at once on this machine, within seconds on another).

    Raises:
        E2MCError: somebody else holds the lock and ``wait`` is false, or the folder cannot be
            written.
    """
    path = Path(path)
    token = _token()
    _acquire(path, token, wait)
    with _beating(path, token):
        yield


@contextmanager
def heartbeat(path: Path | str) -> Iterator[None]:
    """Show through the file ``path`` that this process lives while the block runs.

    It is held like a lock and read by :func:`holder`, but shuts nobody out: who comes last is the
    one who is seen.

    Raises:
        E2MCError: the file cannot be written.
    """
    path = Path(path)
    token = _token()
    write_text(path, token)
    with _beating(path, token):
        yield


def holder(path: Path | str) -> str | None:
    """Who holds the lock file ``path``, if anybody who lives; nothing is waited for or changed.

    A holder on another machine lives if it has touched the lock lately, by this machine's clock.
    """
    path = Path(path)
    content = _holder(path)
    if not content:
        return None
    alive = _alive(content)
    if alive is None:
        alive = time.time() - _touched(path) / 1e9 < STALE_SECONDS
    return _describe(content) if alive else None


def _token() -> str:
    pid = os.getpid()
    holder = {"machine": process.machine(), "pid": pid, "started": process.start_ticks(pid)}
    return json.dumps({**holder, "token": uuid4().hex})


@contextmanager
def _beating(path: Path, token: str) -> Iterator[None]:
    """Touch a file that is ours every few seconds, and remove it if it still is."""
    done = threading.Event()
    beats = threading.Thread(target=_beat, args=(path, done), daemon=True)
    beats.start()
    try:
        yield
    finally:
        done.set()
        beats.join()
        if _holder(path) == token:
            path.unlink(missing_ok=True)


def _acquire(path: Path, token: str, wait: bool) -> None:
    seen: tuple[str, int] | None = None
    since = time.monotonic()
    told = False
    while not _create(path, token):
        now = (_holder(path), _touched(path))
        # The holder's clock may differ from ours: what counts is how long we saw no change.
        beating = seen is not None and now != seen
        if now != seen:
            seen, since = now, time.monotonic()
        if _alive(now[0]) is False or time.monotonic() - since > STALE_SECONDS:
            _take_away(path, now[0])
            continue
        if not wait and (beating or _alive(now[0])):
            raise E2MCError(
                f"{path.parent} is in use by {_describe(now[0])}. Wait for it or stop it; if it "
                f"is gone for certain, delete {path}."
            )
        if not told:
            print(f"waiting for {_describe(now[0])}, which holds {path}", file=sys.stderr)
            told = True
        time.sleep(_POLL_SECONDS)


def _create(path: Path, token: str) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("x", encoding="utf-8")
    except OSError as error:
        if isinstance(error, FileExistsError) and path.parent.is_dir() and not path.is_dir():
            return False
        raise E2MCError(
            f"cannot write {path}: {error.strerror}; the folder must be writable"
        ) from error
    with stream:
        stream.write(token)
    return True


def _take_away(path: Path, holder: str) -> None:
    """Remove a dead holder's lock, but not the lock of somebody who was faster than we."""
    grave = path.with_name(f"{path.name}.{uuid4().hex[:8]}")
    with suppress(FileNotFoundError):
        path.rename(grave)
        if _holder(grave) != holder:
            with suppress(OSError):
                path.hardlink_to(grave)
        grave.unlink()


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):
            os.utime(path)


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _touched(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _alive(holder: str) -> bool | None:
    """Whether the holder's process exists; None on another machine: there only silence tells."""
    try:
        content = json.loads(holder)
        if content["machine"] != process.machine():
            return None
        exists = process.exists(content["pid"])
    except (ValueError, KeyError, TypeError):
        return None
    # the number may have gone to another process since
    return exists and content.get("started") in (None, process.start_ticks(content["pid"]))


def _describe(holder: str) -> str:
    try:
        content = json.loads(holder)
        return f"process {content['pid']} on {content['machine'].split()[0]}"
    except (ValueError, KeyError, TypeError):
        return "another process"
