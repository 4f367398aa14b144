import errno
import os
import signal
from pathlib import Path

import pytest
import torch

from e2mc.errors import E2MCError
from e2mc.training import state
from e2mc.training.state import (
    load_newest_state,
    remove_states,
    run_lock,
    save_state,
    stop_signals,
)


def payload(step: int) -> dict[str, object]:
    return {"weights": torch.full((1000,), float(step)), "nested": [{"epoch": step}]}


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_nothing_to_load(tmp_path):
    assert load_newest_state(tmp_path) is None
    assert load_newest_state(tmp_path / "absent") is None


def test_newest_of_two_kept_states_is_loaded(tmp_path):
    for step in (5, 9, 10, 100):
        save_state(tmp_path, step, payload(step))
    assert [name for name in names(tmp_path) if name.endswith(".pt")] == [
        "step-000000000010.pt",
        "step-000000000100.pt",
    ]
    step, loaded = load_newest_state(tmp_path)
    assert step == 100
    assert torch.equal(loaded["weights"], torch.full((1000,), 100.0))
    assert loaded["nested"] == [{"epoch": 100}]


def test_the_newest_state_is_that_of_most_steps_whatever_the_clock_said(tmp_path):
    save_state(tmp_path, 1, payload(1))
    save_state(tmp_path, 2, payload(2))
    for step, moment in ((1, 4e9), (2, 0)):
        for path in tmp_path.glob(f"step-*{step}.*"):
            os.utime(path, (moment, moment))
    assert load_newest_state(tmp_path)[0] == 2
    save_state(tmp_path, 3, payload(3))
    assert [name for name in names(tmp_path) if name.endswith(".pt")] == [
        "step-000000000002.pt",
        "step-000000000003.pt",
    ]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_newest_state_falls_back_loudly(tmp_path, capsys, damage):
    save_state(tmp_path, 1, payload(1))
    save_state(tmp_path, 2, payload(2))
    newest = tmp_path / "step-000000000002.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"flip": content, "truncate": content[:500], "empty": b""}[damage])
    step, loaded = load_newest_state(tmp_path)
    assert step == 1 and loaded["weights"][0] == 1
    assert "step-000000000002.pt is damaged" in capsys.readouterr().err
    save_state(tmp_path, 2, payload(2))
    assert load_newest_state(tmp_path)[0] == 2


def test_state_without_its_mark_is_no_state(tmp_path):
    save_state(tmp_path, 1, payload(1))
    save_state(tmp_path, 2, payload(2))
    (tmp_path / "step-000000000002.sha256").unlink()
    assert load_newest_state(tmp_path)[0] == 1


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    (tmp_path / ".step-000000000001.pt.99.abcdef12.part").write_bytes(b"half")
    (tmp_path / "step-000000000001.pt").write_bytes(b"no mark")
    (tmp_path / "progress.json").write_text("{}")
    save_state(tmp_path, 2, payload(2))
    assert names(tmp_path) == ["progress.json", "step-000000000002.pt", "step-000000000002.sha256"]


@pytest.mark.parametrize("where", ["write", "replace"])
def test_full_disk_leaves_the_earlier_state(tmp_path, monkeypatch, where):
    save_state(tmp_path, 1, payload(1))

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class FullDisk:
        """A file that takes some bytes and then no more."""

        def __init__(self, stream):
            self.stream = stream
            self.free = 2000

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.stream.close()

        def write(self, content):
            self.free -= len(content)
            return self.stream.write(content) if self.free > 0 else full()

        def flush(self):
            self.stream.flush()

    with monkeypatch.context() as patch:
        if where == "replace":
            patch.setattr(Path, "replace", full)
        else:
            opened = Path.open
            patch.setattr(Path, "open", lambda path, mode: FullDisk(opened(path, mode)))
        with pytest.raises(E2MCError, match=r"No space left on device.*GiB free"):
            save_state(tmp_path, 2, payload(2))
    assert names(tmp_path) == ["step-000000000001.pt", "step-000000000001.sha256"]
    assert load_newest_state(tmp_path)[0] == 1


def test_full_disk_while_saving_the_same_step_again_keeps_it(tmp_path, monkeypatch):
    save_state(tmp_path, 1, payload(1))
    monkeypatch.setattr(state, "_save", lambda *_: pytest.fail("written again"))
    save_state(tmp_path, 1, payload(1))
    assert load_newest_state(tmp_path)[0] == 1


def test_kill_between_state_and_mark(tmp_path, monkeypatch):
    save_state(tmp_path, 1, payload(1))

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(state, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path, 2, payload(2))
    assert load_newest_state(tmp_path)[0] == 1


class Evil:
    def __reduce__(self):
        return (os.system, ("touch executed",))


def test_code_in_a_state_is_not_executed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_state(tmp_path, 1, {"trap": Evil()})
    assert load_newest_state(tmp_path) is None
    assert not Path("executed").exists()
    assert "damaged" in capsys.readouterr().err


def test_remove_states_leaves_other_files(tmp_path):
    save_state(tmp_path, 1, payload(1))
    (tmp_path / "progress.json").write_text("{}")
    remove_states(tmp_path)
    assert names(tmp_path) == ["progress.json"]


def test_second_holder_of_a_run_directory_is_refused(tmp_path):
    with (
        run_lock(tmp_path),
        pytest.raises(E2MCError, match="in use by process"),
        run_lock(tmp_path),
    ):
        pass
    with run_lock(tmp_path):
        pass


def test_signals_set_the_event_and_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)]
    for number in (signal.SIGUSR2, signal.SIGTERM):
        with stop_signals() as asked:
            assert not asked.is_set()
            os.kill(os.getpid(), number)
            assert asked.wait(5)
    assert [signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)] == before
