"""Which GPU a process takes where nobody has given it one: several jobs share this machine.

A process that takes a GPU holds a file of the machine's own temporary folder, which is free again
when the process ends, however it ends.
"""

import fcntl
import os
import tempfile
from pathlib import Path

_held: list[int] = []
"""Open files; closing one would give its GPU back."""


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; imports no torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    devices = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return sorted((name for name in devices if name.isdecimal()), key=int)


def take_gpu() -> str | None:
    """A GPU that no other process of this user has taken, for the rest of this one's life.

    Returns:
        Its name, as CUDA_VISIBLE_DEVICES wants it; None if all are taken, or there is none. More
        jobs than GPUs is for whoever starts them to avoid: the last ones share.
    """
    for name in visible_gpus():
        file = Path(tempfile.gettempdir(), f"e2mc-{os.getuid()}-gpu-{name.replace('/', '-')}.lock")
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            _held.append(descriptor)
            return name
    return None


def settle_on_gpu() -> None:
    """Let a process that works alone see one GPU, if it can have one of several for itself.

    To be called before CUDA is asked for anything. Processes that a launcher (torchrun, an srun
    step of several tasks) has placed keep what they were given.
    """
    placed = "RANK" in os.environ or os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    if not placed and len(visible_gpus()) > 1:
        gpu = take_gpu()
        if gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
