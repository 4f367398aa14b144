"""Several processes on one machine take different GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2mc.gpus import take_gpu, visible_gpus

HOLD = "from e2mc.gpus import take_gpu; print(take_gpu(), flush=True); input()"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, which nobody holds."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-5/x")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("RANK", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def holder() -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", HOLD], stdin=pipe, stdout=pipe, text=True)


def taken(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_every_process_takes_another_one_and_gives_it_back_however_it_ends() -> None:
    processes = [holder() for _ in range(3)]
    assert sorted(taken(process) for process in processes) == ["0", "GPU-5/x", "None"]
    assert take_gpu() is None
    for process in processes:
        process.kill()
        process.communicate()
    again = holder()
    assert taken(again) == "0"
    again.kill()
    again.communicate()


@pytest.mark.parametrize(
    ("given", "names"), [("", []), ("-1", []), ("1", ["1"]), ("2, 3", ["2", "3"])]
)
def test_what_is_visible(monkeypatch: pytest.MonkeyPatch, given: str, names: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == names


@pytest.mark.parametrize(
    ("environment", "sees"),
    [
        ({}, "0"),
        ({"RANK": "0"}, "0,GPU-5/x"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "0,GPU-5/x"),
        ({"SLURM_STEP_NUM_TASKS": "1"}, "0"),
        ({"CUDA_VISIBLE_DEVICES": "7"}, "7"),
    ],
)
def test_a_lone_process_settles_on_one(environment: dict[str, str], sees: str) -> None:
    program = "import os; from e2mc.gpus import settle_on_gpu; settle_on_gpu(); "
    program += "print(os.environ['CUDA_VISIBLE_DEVICES'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == sees, done.stderr
