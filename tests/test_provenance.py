import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from e2mc.files import digest
from e2mc.provenance import cost, provenance

SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_GPUS_ON_NODE", "SLURM_JOB_ID")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SLURM, "SLURM_RESTART_COUNT", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def use_gpus(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: devices > 0, device_count=lambda: devices)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_a_cpu_costs_no_gpu_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpus(monkeypatch, 0)
    assert cost(3600.04, 2) == {
        **{"seconds": 3600.0, "processes": 2, "gpus": 0, "gpu_hours": 0.0},
        **{"slurm_job": None, "restarts": 0},
    }


@pytest.mark.parametrize(
    ("devices", "processes", "on_each_node", "gpus"),
    [(1, 1, None, 1), (4, 1, None, 1), (4, 4, 4, 4), (1, 2, 2, 1), (2, 8, 4, 4)],
    ids=["one", "one of four", "four", "two processes share one", "two nodes, two share each"],
)
def test_gpus_in_use(
    monkeypatch: pytest.MonkeyPatch,
    devices: int,
    processes: int,
    on_each_node: int | None,
    gpus: int,
) -> None:
    use_gpus(monkeypatch, devices)
    if on_each_node is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(on_each_node))
    found = cost(1800, processes)
    assert (found["gpus"], found["gpu_hours"]) == (gpus, gpus / 2)


def test_a_slurm_step_costs_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a process with --gpus-per-task=1 in a step of two nodes with two GPUs."""
    use_gpus(monkeypatch, 1)
    for name, value in zip(SLURM, ("4", "2", "2", "17"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_STEP_GPUS", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    found = cost(3600, 4)
    assert (found["gpus"], found["gpu_hours"]) == (4, 4.0)
    assert (found["slurm_job"], found["restarts"]) == ("17", 3)
    monkeypatch.delenv("SLURM_GPUS_ON_NODE")
    assert cost(3600, 4)["gpus"] == 0, "a step on a node without GPUs"


def test_earlier_starts_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpus(monkeypatch, 2)
    first = cost(1800, 1)
    use_gpus(monkeypatch, 0)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "9")  # of one Slurm job, not of the run
    second = cost(3600, 1, before=first)
    assert (second["seconds"], second["gpu_hours"], second["restarts"]) == (5400, 0.5, 1)
    assert cost(1, before=second)["restarts"] == 2


def test_seconds_count_from_the_start_of_the_process() -> None:
    code = "from e2mc.provenance import cost; print(cost()['seconds'])"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 <= float(done.stdout) <= time.monotonic() - began + 0.1


def test_provenance_says_which_code_settings_inputs_and_machine(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"abc")
    record = provenance({"epochs": 3}, {"model": tmp_path / "input"})
    # FIPS 180-2, appendix B.1: the digest of "abc".
    assert record["inputs"]["model"].startswith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9c")
    assert record["settings"] == {"epochs": 3}
    assert record["settings_hash"] == digest({"epochs": 3}) != digest({"epochs": 4})
    assert record["packages"]["torch"]
    assert {"commit", "dirty"} == set(record["code"])
    json.dumps(record)
