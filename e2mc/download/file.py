"""Download one file: resumed, held to its hash, and under its final name only when complete.

A partial file ``.<name>.<state>.<unique>.part`` lies beside the destination. ``state`` is a
digest of the URL and of the ETag, Last-Modified and length that the server reported, so a part
is found again, by any later call, exactly as long as the server still has the same file.
"""

import http.client
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from e2mc import files
from e2mc.download.progress import progress
from e2mc.download.remote import (
    BrokenOffError,
    RefusedError,
    Remote,
    as_url,
    blocks,
    open_remote,
    open_rest,
)
from e2mc.errors import E2MCError
from e2mc.lock import locked

_SPARE_BYTES = 2**26


class _Wanted(NamedTuple):
    destination: Path
    sha256: str | None
    size: int | None
    timeout: float
    reader: Callable[[Path], object] | None


def download(
    url: str,
    destination: Path | str,
    *,
    sha256: str | None = None,
    size: int | None = None,
    mirrors: Iterable[str] = (),
    reader: Callable[[Path], object] | None = None,
    attempts: int = 6,
    backoff: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Download ``url`` to ``destination`` unless it is there already.

    Safe to call from several processes at once: one downloads, the others wait for it. An
    interrupted download is resumed, by this call or a later one, if the server allows ranges and
    still has the same file. Proxies are taken from the environment (``https_proxy`` etc.).

    Args:
        url: ``http``, ``https`` or ``file`` URL, or a plain path.
        destination: final name; parent folders are created.
        sha256: expected hash, hexadecimal; None: not checked.
        size: expected length in bytes; None: whatever the server announces.
        mirrors: further URLs of the same file, tried in turn.
        reader: opens the complete file, and raises :class:`E2MCError` if it is something else.
        attempts: tries in a row without progress before a source is given up.
        backoff: seconds before the second try, doubled with each further one, with jitter.
        timeout: seconds without a byte before a connection counts as broken.

    Returns:
        ``destination``.

    Raises:
        E2MCError: no source gave the right file (one line per source, and what to do), the disk
            is full or not writable, or a different file already has that name.
    """
    wanted = _Wanted(Path(destination), sha256, size, timeout, reader)
    if _is_there(wanted):
        return wanted.destination
    failures: dict[str, str] = {}
    with locked(wanted.destination.with_name(f".{wanted.destination.name}.lock")):
        if _is_there(wanted):
            return wanted.destination
        for source in (url, *mirrors):
            try:
                _obtain(source, wanted, attempts, backoff)
            except RefusedError as reason:
                failures[source] = str(reason)
            else:
                return wanted.destination
    raise E2MCError(_nowhere(wanted.destination, failures))


def _nowhere(destination: Path, failures: dict[str, str]) -> str:
    reasons = "\n".join(f"  {source}: {reason}" for source, reason in failures.items())
    return (
        f"could not download {destination.name}:\n{reasons}\n"
        f"If this machine has no connection, fetch {next(iter(failures))} on another, place the "
        f"file as {destination.absolute()} and start again. Proxies are taken from the variables "
        "http_proxy and https_proxy."
    )


def _is_there(wanted: _Wanted) -> bool:
    path = wanted.destination
    if not path.exists():
        return False
    mistake = _mistake(path, wanted)
    if mistake:
        raise E2MCError(
            f"{path} has the wrong checksum or size: {mistake}. Move it away to have it downloaded."
        )
    return True


def _mistake(path: Path, wanted: _Wanted) -> str | None:
    actual_size = path.stat().st_size
    if wanted.size is not None and actual_size != wanted.size:
        return f"expected {wanted.size} bytes, found {actual_size}"
    if wanted.sha256 is not None:
        actual = files.sha256(path)
        if actual != wanted.sha256.lower():
            return f"expected sha256 {wanted.sha256.lower()}, found {actual}"
    return None


def _unreadable(part: Path, wanted: _Wanted) -> str | None:
    if wanted.reader is not None:
        try:
            wanted.reader(part)
        except E2MCError as error:
            return str(error).replace(str(part), wanted.destination.name)
    return None


def _obtain(source: str, wanted: _Wanted, attempts: int, backoff: float) -> None:
    """Try one source until it succeeds, refuses, or makes no progress ``attempts`` times."""
    url = as_url(source)
    failed, farthest = 0, 0

    def reached(offset: int) -> None:
        nonlocal failed, farthest
        if offset > farthest:
            failed, farthest = 0, offset

    while True:
        try:
            return _transfer(url, wanted, reached)
        except BrokenOffError as reason:
            failed += 1
            if failed >= attempts:
                raise RefusedError(f"{reason} ({attempts} attempts)") from reason
            wait = backoff * 2 ** (failed - 1) * random.uniform(0.75, 1.25)
            print(f"{source}: {reason}; trying again in {wait:.0f} s", file=sys.stderr)
            time.sleep(wait)


def _transfer(url: str, wanted: _Wanted, reached: Callable[[int], None]) -> None:
    remote, response = open_remote(url, wanted.timeout)
    with response:
        if wanted.size is not None and remote.size not in (None, wanted.size):
            raise RefusedError(f"expected {wanted.size} bytes, the server offers {remote.size}")
        if not remote.delimited and wanted.size is None and wanted.sha256 is None:
            raise RefusedError("the server states no length: a cut transfer would pass unnoticed")
        part = _claim_part(wanted.destination, remote, trusted=wanted.sha256 is not None)
        have = part.stat().st_size if part.exists() else 0
        _check_space(part, (remote.size or 0) - have)
        if have == 0:
            _write(response, part, 0, remote, wanted.size, reached)
    if 0 < have != remote.size:
        _resume(remote, part, have, wanted, reached)
    _accept(part, wanted, resumed=have > 0)


def _claim_part(destination: Path, remote: Remote, *, trusted: bool) -> Path:
    """Take over the longest part of the same remote file under a name of our own.

    Without ETag and Last-Modified only a known hash can tell that the rest fits the beginning.
    """
    stem = f".{destination.name}.{files.digest(remote)}"
    mine = destination.with_name(f"{stem}.{os.getpid()}-{uuid4().hex[:8]}.part")
    found = _parts(destination.parent, stem)
    for path in sorted(found, key=lambda path: path.stat().st_size, reverse=True):
        usable = remote.size is None or path.stat().st_size <= remote.size
        if usable and (remote.validator or trusted) and not mine.exists():
            path.replace(mine)
        else:
            path.unlink()
    return mine


def _parts(folder: Path, stem: str) -> list[Path]:
    names = (path for path in folder.iterdir() if path.suffix == ".part")
    return [path for path in names if path.name.startswith(f"{stem}.")]


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed + _SPARE_BYTES > free:
        raise E2MCError(
            f"{part.parent.absolute()} has {free / 1e9:.2f} GB free, the download needs "
            f"{needed / 1e9:.2f} GB more; free some and start again, it resumes where it stopped."
        )


def _resume(
    remote: Remote, part: Path, have: int, wanted: _Wanted, reached: Callable[[int], None]
) -> None:
    try:
        start, response = open_rest(remote, have, wanted.timeout)
    except RefusedError as reason:
        part.unlink()
        raise BrokenOffError(f"cannot be resumed: {reason}") from reason
    with response:
        _write(response, part, start, remote, wanted.size, reached)


def _write(
    response: http.client.HTTPResponse,
    part: Path,
    position: int,
    remote: Remote,
    size: int | None,
    reached: Callable[[int], None],
) -> None:
    """Write the body into the part from ``position`` on; a part that breaks off is kept."""
    name = part.name[1:].rsplit(".", 3)[0]
    try:
        with part.open("r+b" if part.exists() else "wb") as stream:
            stream.truncate(position)
            stream.seek(position)
            with progress(name, remote.size, position) as show:
                for block in blocks(response):
                    if size is not None and position + len(block) > size:
                        part.unlink()
                        raise RefusedError(f"expected {size} bytes, the server sends more")
                    position += stream.write(block)
                    show(position)
                    reached(position)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise E2MCError(
            f"cannot write {part.parent.absolute()}: {error.strerror or error}; free some "
            "space or choose another folder and start again, it resumes where it stopped."
        ) from error
    if remote.size is not None and position != remote.size:
        raise BrokenOffError(f"the connection ended after {position} of {remote.size} bytes")


def _accept(part: Path, wanted: _Wanted, *, resumed: bool) -> None:
    """Give a complete part its final name if it is what it should be, else discard it."""
    try:
        mistake = _mistake(part, wanted) or _unreadable(part, wanted)
        if mistake is None:
            part.replace(wanted.destination)
    except FileNotFoundError as error:
        raise BrokenOffError("another process took this download over") from error
    if mistake is not None:
        part.unlink(missing_ok=True)
        # The beginning of a resumed file is older than this transfer: once from scratch.
        raise (BrokenOffError if resumed else RefusedError)(f"{mistake}; discarded")
    for leftover in _parts(wanted.destination.parent, f".{wanted.destination.name}"):
        leftover.unlink(missing_ok=True)
    folder = os.open(wanted.destination.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
