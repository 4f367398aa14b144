"""When, and by which code, settings, inputs and machine, a result was made, and what it cost.

Every record of a cost counts from the beginning of its job; a job that writes several records, one
after another, costs what its most expensive record says.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from e2mc.files import digest, read_json, sha256
from e2mc.process import start_ticks

_IMPORTED = time.monotonic()


def provenance(settings: Mapping[str, Any], inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Which code, configuration, inputs and machine made a result, on which day (UTC).

    Args:
        settings: effective settings of the stage, as plain data; stored whole and as a hash.
        inputs: name -> file whose sha256 is recorded; of one that is itself a record with such an
            entry, its settings and inputs are recorded as well, for it may be deleted.
    """
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "code": _code_version(),
        "settings": dict(settings),
        "settings_hash": digest(dict(settings)),
        "inputs": {name: sha256(path) for name, path in inputs.items()},
        "sources": {name: _source(path) for name, path in inputs.items() if path.suffix == ".json"},
        "packages": {name: _package_version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": platform.platform(),
        "device": _device(),
        "arithmetic": _arithmetic(),
    }


def _source(record: Path) -> dict[str, Any]:
    content = read_json(record)
    made = content.get("provenance", {}) if isinstance(content, dict) else {}
    return {key: made[key] for key in ("settings_hash", "inputs") if key in made}


_PACKAGES = ("e2mc", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "pandas")


def _device() -> str:
    """Name of the GPU in use; a process that never used one ran on the CPU."""
    cuda = cuda_in_use()
    return "cpu" if cuda is None else str(cuda.get_device_name())


def _arithmetic() -> dict[str, bool] | None:
    """How the GPU in use rounds and whether its bits repeat; None on a CPU, where they do."""
    if cuda_in_use() is None:
        return None
    torch = sys.modules["torch"]
    backends = torch.backends
    return {
        "tf32_convolutions": backends.cudnn.allow_tf32,
        "tf32_products": backends.cuda.matmul.allow_tf32,
        "fastest_algorithms": backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def cuda_in_use() -> Any:
    """`torch.cuda` if this process has used a GPU, else None; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _code_version() -> dict[str, Any]:
    """Commit of the checkout that this package is imported from, and whether it has changes."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def cost(
    seconds: float | None = None, processes: int = 1, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The job up to now, as plain data.

    Args:
        seconds: wall-clock; None: since this process began.
        processes: that worked together.
        before: cost of the job's earlier starts, whose work it goes on with; None: it has none,
            and a restart is one by Slurm.
    """
    seconds = process_seconds() if seconds is None else seconds
    gpus = _gpus(processes)
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    gpu_hours = gpus * seconds / 3600
    if before is not None:
        restarts = before["restarts"] + 1
        seconds += before["seconds"]
        gpu_hours += before["gpu_hours"]
    return {
        "seconds": round(seconds, 1),
        "processes": processes,
        "gpus": gpus,
        "gpu_hours": round(gpu_hours, 4),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "restarts": restarts,
    }


def process_seconds() -> float:
    """Seconds since this process began, which took some of them to import torch."""
    ticks = start_ticks(os.getpid())
    if ticks is None:
        return time.monotonic() - _IMPORTED
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")


def _gpus(processes: int) -> int:
    """GPUs held: those that Slurm gave to the step, used or not, else those in use.

    CUDA_VISIBLE_DEVICES and SLURM_STEP_GPUS are of no use under Slurm: a process that is bound to
    its own GPU sees one there, however many its step has.
    """
    environment = os.environ
    if "SLURM_STEP_NUM_TASKS" in environment:
        on_node = int(environment.get("SLURM_GPUS_ON_NODE", "0"))
        return on_node * int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    cuda = cuda_in_use()
    if cuda is None:
        return 0
    # torchrun says how many processes share a node, and they may share its GPUs
    together = int(environment.get("LOCAL_WORLD_SIZE", processes))
    return (processes // together) * min(together, int(cuda.device_count()))
