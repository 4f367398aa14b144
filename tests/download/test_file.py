import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from e2mc.errors import E2MCError
from tests.download.server import CONTENT, SHA256, Server, fast, leftovers


def test_downloads_verifies_and_leaves_nothing_beside(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    assert fast(server.url, path, sha256=SHA256, size=len(CONTENT)) == path
    assert path.read_bytes() == CONTENT
    assert leftovers(path.parent) == ["file.bin"]


def test_a_file_in_place_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    fast(server.url, tmp_path / "file.bin", sha256=SHA256)
    fast(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert len(server.seen) == 1


def test_a_different_file_in_place_is_refused_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(E2MCError, match=rf"expected sha256 {SHA256}, found [0-9a-f]{{64}}"):
        fast(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"


def test_a_truncated_body_is_resumed_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.break_off = [100_000, 100, 200_000, 100]  # full request, then probe and rest in turn
    path = fast(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    ranges = [asked for _, asked in server.seen if asked]
    assert ranges[0] == "bytes=100000-"
    assert leftovers(tmp_path) == ["file.bin"]


def test_progress_resets_the_count_of_attempts(server: Server, tmp_path: Path) -> None:
    server.break_off = [1000] * 40
    assert fast(server.url, tmp_path / "file.bin", attempts=2).read_bytes() == CONTENT


def test_the_next_call_resumes_an_interrupted_download(server: Server, tmp_path: Path) -> None:
    server.break_off = [300_000]
    with pytest.raises(E2MCError, match="connection ended after 300000 of"):
        fast(server.url, tmp_path / "file.bin", attempts=1)
    assert not (tmp_path / "file.bin").exists()
    server.seen.clear()
    assert fast(server.url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.seen[-1][1] == "bytes=300000-"


def test_a_part_of_another_version_is_not_resumed(server: Server, tmp_path: Path) -> None:
    server.break_off = [300_000]
    with pytest.raises(E2MCError):
        fast(server.url, tmp_path / "file.bin", attempts=1)
    server.content, server.etag = CONTENT[::-1], '"two"'
    server.seen.clear()
    assert fast(server.url, tmp_path / "file.bin").read_bytes() == CONTENT[::-1]
    assert [asked for _, asked in server.seen] == [None]
    assert leftovers(tmp_path) == ["file.bin"]


def test_without_validators_only_a_known_hash_allows_to_resume(
    server: Server, tmp_path: Path
) -> None:
    server.etag = None
    for options, resumed in (({"sha256": SHA256}, True), ({}, False)):
        path = tmp_path / f"{resumed}.bin"
        server.break_off = [300_000]
        with pytest.raises(E2MCError):
            fast(server.url, path, attempts=1, **options)
        server.seen.clear()
        assert fast(server.url, path, **options).read_bytes() == CONTENT
        assert any(asked for _, asked in server.seen) is resumed


def test_a_resumed_file_with_a_damaged_beginning_starts_over(
    server: Server, tmp_path: Path
) -> None:
    server.break_off = [300_000]
    with pytest.raises(E2MCError):
        fast(server.url, tmp_path / "file.bin", sha256=SHA256, attempts=1)
    (part,) = tmp_path.glob(".file.bin.*.part")
    part.write_bytes(b"x" * 300_000)
    assert fast(server.url, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_server_that_never_gets_farther_is_given_up(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.break_off = [1000] * 100
    with pytest.raises(E2MCError, match=r"ended after 1000 of .*3 attempts"):
        fast(server.url, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()


def test_waits_double_from_try_to_try(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("e2mc.download.file.time.sleep", waits.append)
    server.statuses = [500] * 5
    with pytest.raises(E2MCError, match=r"answered 500 .*\(5 attempts\)"):
        fast(server.url, tmp_path / "file.bin", attempts=5, backoff=1.0)
    assert all(0.7 * 2**k < wait < 1.3 * 2**k for k, wait in enumerate(waits))
    assert len(waits) == 4


def test_a_mirror_steps_in(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    mirror = server.url.replace("file.bin", "mirror.bin")
    assert fast(server.url, tmp_path / "file.bin", mirrors=[mirror]).read_bytes() == CONTENT
    assert [path for path, _ in server.seen] == ["/file.bin", "/mirror.bin"]


def test_a_wrong_hash_names_both_and_discards_the_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match=rf"expected sha256 {'0' * 64}, found {SHA256}"):
        fast(server.url, tmp_path / "file.bin", sha256="0" * 64)
    assert leftovers(tmp_path) == []
    assert len(server.seen) == 1


def test_a_wrong_length_is_refused_before_the_body_is_read(server: Server, tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match=f"expected 5 bytes, the server offers {len(CONTENT)}"):
        fast(server.url, tmp_path / "file.bin", size=5)
    server.announce_length = False
    more = len(CONTENT) + 1
    with pytest.raises(E2MCError, match=f"expected {more} bytes, found {len(CONTENT)}"):
        fast(server.url, tmp_path / "file.bin", size=more)
    assert leftovers(tmp_path) == []


def test_a_body_without_end_stops_at_the_expected_length(server: Server, tmp_path: Path) -> None:
    server.announce_length = False
    with pytest.raises(E2MCError, match="expected 300000 bytes, the server sends more"):
        fast(server.url, tmp_path / "file.bin", size=300_000)
    assert leftovers(tmp_path) == []


def test_a_reader_decides_what_becomes_the_file(server: Server, tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise E2MCError(f"{path} is something else")

    with pytest.raises(E2MCError, match=r"file\.bin is something else; discarded"):
        fast(server.url, tmp_path / "file.bin", reader=refuse)
    assert leftovers(tmp_path) == []
    assert fast(server.url, tmp_path / "file.bin", reader=Path.read_bytes).exists()


def test_offline_names_the_url_and_the_place_of_the_file(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file.bin"
    with pytest.raises(E2MCError) as caught:
        fast(url, tmp_path / "file.bin")
    message = str(caught.value)
    assert "refused" in message
    assert f"fetch {url} on another, place the file as {tmp_path / 'file.bin'}" in message


def test_too_little_free_disk_is_said_before_writing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 1000))
    with pytest.raises(E2MCError, match=r"0\.00 GB free, the download needs 0\.00 GB more"):
        fast(server.url, tmp_path / "file.bin")
    assert leftovers(tmp_path) == []


def test_a_disk_that_fills_up_keeps_the_part_and_no_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(E2MCError, match="No space left on device; free some space"):
            fast(server.url, tmp_path / "file.bin")
    assert [Path(name).suffix for name in leftovers(tmp_path)] == [".part"]
    fast(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert leftovers(tmp_path) == ["file.bin"]


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(E2MCError, match="cannot write"):
        fast(server.url, tmp_path / "occupied" / "file.bin")


def _download_in_process(url: str, path: Path) -> None:
    fast(url, path, sha256=SHA256)


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    server.pause = 0.02
    context = multiprocessing.get_context("fork")
    arguments = (server.url, tmp_path / "file.bin")
    both = [context.Process(target=_download_in_process, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(server.seen) == 1
    assert leftovers(tmp_path) == ["file.bin"]


def test_a_killed_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.pause = 0.1
    path = tmp_path / "file.bin"
    command = f"from e2mc.download.file import download; download({server.url!r}, {str(path)!r})"
    process = subprocess.Popen([sys.executable, "-c", command])
    deadline = time.monotonic() + 20
    while not any(part.stat().st_size for part in tmp_path.glob(".file.bin.*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()
    assert (tmp_path / ".file.bin.lock").exists()
    server.pause = 0
    fast(server.url, path, sha256=SHA256)
    assert int(str(server.seen[-1][1]).removeprefix("bytes=").removesuffix("-")) >= 2**16
    assert leftovers(tmp_path) == ["file.bin"]


def test_a_download_that_lost_its_part_to_another_process_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []

    def take(url: str) -> None:
        if not taken:
            taken.append(True)
            for part in tmp_path.glob(".file.bin.*.part"):
                part.unlink()

    monkeypatch.setattr("e2mc.files.sha256", lambda path: take(path) or _sha256(path))
    assert fast(server.url, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
