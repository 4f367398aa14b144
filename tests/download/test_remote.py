"""What a server may answer, and what is made of it."""

import os
from pathlib import Path

import pytest

from e2mc.errors import E2MCError
from tests.download.server import CONTENT, SHA256, Server, fast, leftovers


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 204}, "answered 204 where 200 is expected"),
        ({"status": 206}, "answered 206 where 200 is expected"),
        ({"more_headers": [("Content-Encoding", "gzip")]}, r"sent the file encoded \(gzip\)"),
        ({"more_headers": [("Content-Length", "7")]}, "no single length: "),
        (
            {"more_headers": [("Content-Length", "\u00b2")], "announce_length": False},
            "no single length: \u00b2",
        ),
        ({"announce_length": False}, "states no length"),
    ],
)
def test_an_answer_that_is_not_the_whole_file_is_refused(
    server: Server, tmp_path: Path, answer: dict[str, object], message: str
) -> None:
    vars(server).update(answer)
    with pytest.raises(E2MCError, match=message):
        fast(server.url, tmp_path / "file.bin")
    assert leftovers(tmp_path) == []


def test_a_range_of_a_file_that_has_changed_is_not_used(server: Server, tmp_path: Path) -> None:
    server.etag_of_ranges = '"two"'
    server.break_off = [300_000]
    assert fast(server.url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["file.bin"]


def test_what_a_server_says_cannot_control_a_terminal(server: Server, tmp_path: Path) -> None:
    server.raw_answer = b"\x1b[2J\x00\x07 nonsense\r\n\r\n"
    with pytest.raises(E2MCError) as caught:
        fast(server.url, tmp_path / "file.bin")
    assert "nonsense" in str(caught.value)
    assert all(character.isprintable() or character == "\n" for character in str(caught.value))


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(E2MCError, match="is not a regular file"):
        fast(str(tmp_path / "pipe"), tmp_path / "file.bin")


def test_a_web_page_is_not_a_file(server: Server, tmp_path: Path) -> None:
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(E2MCError, match="web page"):
        fast(server.url, tmp_path / "file.bin")


def test_a_silent_server_counts_as_broken(server: Server, tmp_path: Path) -> None:
    server.pause = 1.0
    with pytest.raises(E2MCError, match="timed out"):
        fast(server.url, tmp_path / "file.bin", timeout=0.2, attempts=1)


def test_file_urls_and_plain_paths(tmp_path: Path) -> None:
    source = tmp_path / "source file.bin"
    source.write_bytes(CONTENT)
    for number, url in enumerate((source.as_uri(), str(source))):
        assert fast(url, tmp_path / f"{number}.bin", sha256=SHA256).read_bytes() == CONTENT
    with pytest.raises(E2MCError, match="No such file"):
        fast(str(tmp_path / "absent"), tmp_path / "absent.bin")
    with pytest.raises(E2MCError, match="unknown url type"):
        fast("gopher://nowhere/file", tmp_path / "gopher.bin")


def test_the_proxy_of_the_environment_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/file.bin"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    fast("http://weights.invalid/file.bin", tmp_path / "file.bin", sha256=SHA256)
    assert server.seen == [("http://weights.invalid/file.bin", None)]


def test_a_range_from_another_place_is_not_used(server: Server, tmp_path: Path) -> None:
    server.misplaced = 7
    server.break_off = [300_000]
    path = fast(server.url, tmp_path / "file.bin")
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["ignored", "refused"])
def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path, kind: str) -> None:
    server.ranges = kind != "ignored"
    server.refuse_ranges = kind == "refused"
    server.break_off = [300_000]
    path = fast(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert any(asked for _, asked in server.seen)


def test_server_errors_are_retried(server: Server, tmp_path: Path) -> None:
    server.statuses = [500, 503, 200]
    assert fast(server.url, tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404])
def test_refusals_are_not_retried_and_every_mirror_is_named(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.statuses = [status] * 2
    mirror = server.url.replace("file.bin", "mirror.bin")
    with pytest.raises(E2MCError) as caught:
        fast(server.url, tmp_path / "file.bin", mirrors=[mirror])
    assert f"{server.url}: the server answered {status}" in str(caught.value)
    assert f"{mirror}: the server answered {status}" in str(caught.value)
    assert len(server.seen) == 2
