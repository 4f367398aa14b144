"""Files are absent or complete, whatever happens while they are written."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2mc import files
from e2mc.errors import E2MCError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_is_visible_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result.txt"
    with files.atomic_write(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "half"
    assert leftovers(target.parent) == ["result.txt"]


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="mid-write"), files.atomic_write(target) as temporary:
        temporary.write_text("new")
        raise RuntimeError("mid-write")
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == ["result.txt"]


def test_a_kill_at_the_rename_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")

    def killed(self: Path, other: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(target, "new")
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == ["result.txt"]


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    """A writer is killed in the middle; beside it others write the same file and its namesakes."""
    target = tmp_path / "result[1].txt"
    killed = (
        "import os, sys; from e2mc.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as part: part.write_text('half'); os.abort()"
    )
    subprocess.run([sys.executable, "-c", killed, str(target)], check=False)
    [left] = leftovers(tmp_path)
    assert left.endswith(".part")
    parts = left.rsplit(".", 4)
    elsewhere = [parts[0], "0123456789abcdef", *parts[2:]]
    (tmp_path / ".".join([*elsewhere[:3], "new00000", "part"])).touch()
    old = tmp_path / ".".join([*elsewhere[:3], "old00000", "part"])
    old.touch()
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    (tmp_path / left.replace("[1]", "1")).touch()
    with files.atomic_write(target) as temporary:
        temporary.write_text("whole")
        with files.atomic_write(target) as other:
            other.write_text("earlier")
    assert target.read_text() == "whole"
    kept = [left.replace("[1]", "1"), ".".join([*elsewhere[:3], "new00000", "part"]), target.name]
    assert leftovers(tmp_path) == sorted(kept)


def test_a_full_disk_is_explained_and_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(E2MCError, match=r"cannot write .*No space left.*finished results are kept"):
        files.write_text(target, "new")
    assert target.read_text() == "old"
    assert leftovers(tmp_path) == ["result.txt"]


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder is wanted")
    with pytest.raises(E2MCError, match=r"cannot write .*file/result\.txt"):
        files.write_text(tmp_path / "file" / "result.txt", "text")


def test_a_folder_that_is_a_link_to_itself_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "results"
    loop.symlink_to(loop)
    with pytest.raises(E2MCError, match=r"cannot write .*results/a.txt: "):
        files.write_text(loop / "a.txt", "text")


def test_a_foreign_error_inside_the_block_is_not_blamed_on_the_target(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="elsewhere"),
        files.atomic_write(tmp_path / "result.txt"),
    ):
        (tmp_path / "elsewhere").read_text()


def test_json_is_plain_and_refuses_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"value": 0.1})
    assert files.read_json(tmp_path / "a.json") == {"value": 0.1}
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "b.json", {"value": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(E2MCError, match=r"a\.json is not valid JSON"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(E2MCError, match=r"absent\.json does not exist"):
        files.read_json(tmp_path / "absent.json")
