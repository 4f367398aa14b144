import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from e2mc import lock, process
from e2mc.errors import E2MCError
from e2mc.lock import heartbeat, holder, locked


def test_the_lock_exists_while_it_is_held_and_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "run.lock"
    with locked(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_a_look_at_the_holder_waits_for_nobody_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    assert holder(path) is None
    with locked(path):
        before = path.stat()
        assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
        assert path.stat() == before
    assert holder(path) is None
    _holder(path, machine="elsewhere pid:[1]")
    assert holder(path) == f"process {json.loads(path.read_text())['pid']} on elsewhere"
    os.utime(path, (1, 1))
    assert holder(path) is None, "silent for too long"
    path.write_text("")
    assert holder(path) is None
    assert path.exists()


def test_it_is_released_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "run.lock"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_second_holder_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with (
        locked(path),
        pytest.raises(E2MCError, match=f"in use by process {os.getpid()} on .*delete {path}"),
        locked(path, wait=False),
    ):
        pass


def test_blocks_never_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_POLL_SECONDS", 0.001)
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with locked(tmp_path / "run.lock"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def _holder(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({"machine": process.machine(), "pid": 1, "token": "x", **changes}))


def test_a_dead_process_of_this_machine_loses_the_lock_at_once(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    _holder(tmp_path / "run.lock", pid=child)
    with locked(tmp_path / "run.lock", wait=False):
        pass
    assert not list(tmp_path.iterdir())


def test_a_process_that_inherited_the_number_does_not_hold_the_lock(tmp_path: Path) -> None:
    _holder(tmp_path / "run.lock", pid=os.getpid(), started="1")
    with locked(tmp_path / "run.lock", wait=False):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["other machine", "unreadable"])
def test_elsewhere_only_silence_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.5)
    monkeypatch.setattr(lock, "_POLL_SECONDS", 0.02)
    path = tmp_path / "run.lock"
    if content == "other machine":
        _holder(path, machine="elsewhere pid:[1]")
    else:
        path.write_text("")
    began = time.monotonic()
    with locked(path, wait=False):
        assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("moment", [0.0, 4e9])
def test_whatever_the_clock_says_silence_is_measured_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: float
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.5)
    monkeypatch.setattr(lock, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(time, "time", lambda: moment)
    path = tmp_path / "run.lock"
    _holder(path, machine="elsewhere pid:[1]")
    os.utime(path, (4e9 - moment, 4e9 - moment))
    with locked(path, wait=False):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_holder_elsewhere_that_still_beats_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(lock, "_POLL_SECONDS", 0.01)
    with locked(tmp_path / "run.lock"):
        monkeypatch.setattr(process, "machine", lambda: "another pid:[2]")
        with pytest.raises(E2MCError, match="in use"), locked(tmp_path / "run.lock", wait=False):
            pass


def test_a_lock_taken_by_a_faster_waiter_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.write_text("the faster waiter's")
    lock._take_away(path, "the dead holder's")
    assert path.read_text() == "the faster waiter's"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_lock_of_another_is_not_released(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with locked(path):
        path.write_text("taken over")
    assert path.read_text() == "taken over"


def test_a_heartbeat_shuts_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    with heartbeat(path):
        assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
        with heartbeat(path):
            assert holder(path) is not None
        assert not path.exists(), "who came last is gone"
    assert not path.exists()
    with heartbeat(path), locked(tmp_path / "other"):
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


def test_a_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2mc.lock.HEARTBEAT_SECONDS", 0.01)
    path = tmp_path / "heartbeat"
    with heartbeat(path):
        os.utime(path, (1, 1))
        for _ in range(1000):
            if path.stat().st_mtime > 2:
                break
            time.sleep(0.01)
        assert path.stat().st_mtime > 2
