"""A command done by a copy of the server looks, from outside, as if it did the work itself."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2mc import warm
from tests.small_experiment import hear_ctrl_c

COMMAND = [sys.executable, "-m", "e2mc"]
ROOT = Path(__file__).parents[1]
BASE = "sample,label,prediction\n0,1,1\n1,0,1\n2,1,0\n"


@pytest.fixture(scope="module")
def server() -> Iterator[warm.Server]:
    before = os.environ.copy()
    del os.environ["PYTEST_CURRENT_TEST"]
    os.environ["PYTHONPATH"] = str(ROOT)
    started = warm.start()
    os.environ.update(warm.THREADS)  # as Snakemake does for its jobs
    yield started
    started.end()
    os.environ.clear()
    os.environ.update(before)
    started.process.wait(timeout=120)
    assert not Path(started.folder).exists()


def copies(server: warm.Server) -> list[int]:
    pid = server.process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def job_environment(**changed: str) -> dict[str, str]:
    """The server's, but for the variable that pytest changes before every test."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    return {**kept, **changed}


def run(folder: Path, *arguments: str, alone: bool) -> tuple[int, str, str]:
    environment = job_environment(**{"E2MC_SERVER": "/nowhere"} if alone else {})
    command = [*COMMAND, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "base.csv", "base.csv", "--csv", "table.csv"),
        ("compare", "base.csv", "absent.csv"),
        ("compare",),
        ("status",),
    ],
)
def test_the_same_words_and_the_same_end(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    found = []
    for alone in (True, False):
        (tmp_path / "base.csv").write_text(BASE)
        outcome = run(tmp_path, *arguments, alone=alone)
        written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        found.append((outcome, written))
        (tmp_path / "table.csv").unlink(missing_ok=True)
    assert found[0] == found[1]


@contextmanager
def slow_command(folder: Path, **changed: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that a copy does, waiting for input that does not come."""
    pipe = folder / "base.csv"
    os.mkfifo(pipe)
    command = [*COMMAND, "compare", "base.csv", "base.csv"]
    started = subprocess.Popen(
        command, cwd=folder, env=job_environment(**changed), preexec_fn=hear_ctrl_c
    )
    try:
        writer = open_for_writing(pipe, started)
        yield started
        started.wait(timeout=60)
        os.close(writer)
    finally:
        started.kill()


def open_for_writing(pipe: Path, reader: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO  # nobody reads yet
            assert reader.poll() is None
            time.sleep(0.05)


def wait_until_gone(server: warm.Server) -> None:
    deadline = time.monotonic() + 120
    while copies(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_a_signal_to_the_command_ends_the_copy(
    tmp_path: Path, server: warm.Server, number: signal.Signals
) -> None:
    with slow_command(tmp_path) as command:
        assert len(copies(server)) == 1
        command.send_signal(number)
    assert command.returncode == -number
    wait_until_gone(server)


def test_a_killed_copy_is_a_killed_command(tmp_path: Path, server: warm.Server) -> None:
    with slow_command(tmp_path) as command:
        os.kill(copies(server)[0], signal.SIGKILL)
    assert command.returncode == -signal.SIGKILL


@pytest.mark.parametrize("change", [{"OMP_NUM_THREADS": "2"}, {"E2MC_SERVER": "/nowhere"}])
def test_a_command_that_no_copy_can_do_is_done_all_the_same(
    tmp_path: Path, server: warm.Server, change: dict[str, str]
) -> None:
    with slow_command(tmp_path, **change) as command:
        assert copies(server) == []
        command.terminate()
    assert command.returncode == -signal.SIGTERM


def test_with_a_killed_server_its_copies_end(tmp_path: Path, server: warm.Server) -> None:
    """The last test: this is the server of all of them."""
    with slow_command(tmp_path) as command:
        (copy,) = copies(server)
        server.process.kill()
    assert command.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 120
    while Path(f"/proc/{copy}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
