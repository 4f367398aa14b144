import re
from pathlib import Path

import pytest

from e2mc.download import progress as download_progress
from tests.download.server import Server, fast


def test_progress_is_plain_lines_in_a_log(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(download_progress, "LINE_SECONDS", 0.05)
    server.pause = 0.03
    fast(server.url, tmp_path / "file.bin")
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(re.fullmatch(r"file.bin: .* of 1.0 MB \(\d+%\), .* MB/s", line) for line in lines)
