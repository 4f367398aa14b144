"""The resumable state of a run: complete or absent, checked when read, two kept.

A state is two files: ``step-<n>.pt`` and then, as the mark that it is complete,
``step-<n>.sha256`` with its hash. Whatever a kill or a full disk leaves behind is therefore
never taken for a state, and damage that happens later is noticed.
"""

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from e2mc.errors import INTERRUPTED_STATUS, E2MCError
from e2mc.files import atomic_write, sha256, write_text
from e2mc.lock import locked

KEPT = 2
ANY_PROCESSES = "E2MC_ANY_PROCESSES"
"""Set to 1, this environment variable lets a run go on with another number of processes.

It is neither configuration nor argument, because those would make Snakemake train anew.
"""


class Interrupted(SystemExit):
    """The run was asked to stop, saved its state and goes on when started again.

    Uncaught, it ends the process with `INTERRUPTED_STATUS`.
    """

    def __init__(self) -> None:
        super().__init__(INTERRUPTED_STATUS)


def run_lock(folder: Path) -> AbstractContextManager[None]:
    """Refuse a second training on one run directory.

    Raises:
        E2MCError: another process holds the lock.
    """
    return locked(folder / "lock", wait=False)


def save_state(folder: Path, step: int, payload: Mapping[str, Any]) -> None:
    """Write a state, then delete everything but the newest two complete ones.

    Args:
        folder: run directory, held with `run_lock`.
        step: steps done; orders the states. A complete state of that step is left as it is.
        payload: tensors and plain Python values only (no NumPy scalars), nested at will.

    Raises:
        E2MCError: the disk is full or the folder cannot be written; earlier states are intact.
    """
    path = _path(folder, step)
    if path in _complete(folder):
        return
    with atomic_write(path) as temporary:
        checksum = _save(payload, temporary)
    write_text(path.with_suffix(".sha256"), checksum + "\n")
    kept = _complete(folder)[:KEPT]
    # a killed process leaves unmarked states and temporary files, each as large as a state
    for file in (*folder.glob("step-*"), *folder.glob(".step-*.part")):
        if file.with_suffix(".pt") not in kept:
            file.unlink()


def _save(payload: Mapping[str, Any], path: Path) -> str:
    """torch.save whose failed writes are OSError, as everywhere else, not RuntimeError.

    Returns:
        The file's sha256.
    """
    with path.open("wb") as stream:
        hashing = _Hashing(stream)
        try:
            torch.save(dict(payload), hashing)  # type: ignore[arg-type]
        except RuntimeError as error:
            # the zip writer hides the OSError of a full disk behind its own failure to finish
            cause = error.__context__
            raise (cause if isinstance(cause, OSError) else error) from None
    return hashing.sha256.hexdigest()


class _Hashing:
    """A stream to be written from its beginning to its end, hashed on the way."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.sha256 = stream, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        return self.stream.write(content)

    def flush(self) -> None:
        self.stream.flush()


def snapshot(value: Any) -> Any:
    """A copy, on the CPU, of tensors and plain values that a running training goes on changing."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [snapshot(item) for item in value]
    return value


def load_newest_state(
    folder: Path, map_location: str | torch.device = "cpu"
) -> tuple[int, dict[str, Any]] | None:
    """The newest state that is complete and undamaged: (steps done, payload), or None.

    A damaged state is reported on standard error, loses its mark, and the one before it is
    taken. Nothing inside a state is executed.
    """
    for path in _complete(folder):
        step = int(path.stem.removeprefix("step-"))
        try:
            return step, load_state(folder, step, map_location)
        except Exception as error:  # whatever is wrong with it, the one before may be sound
            print(
                f"WARNING: the state {path} is damaged ({error}); going back to the state "
                "before it",
                file=sys.stderr,
                flush=True,
            )
            path.with_suffix(".sha256").unlink()
    return None


def load_state(folder: Path, step: int, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The state of one step.

    Raises:
        Exception: it is missing, incomplete or damaged.
    """
    path = _path(folder, step)
    if sha256(path) != path.with_suffix(".sha256").read_text(encoding="utf-8").strip():
        raise E2MCError(f"the checksum of {path} is wrong")
    payload: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    return payload


def admit_processes(folder: Path, before: int, now: int) -> None:
    """Refuse to go on with another number of processes, unless the user asks for it.

    Each step then has the images and views it would have had, a few at the end of an epoch
    excepted where the data cannot be shared equally. What differs is their division among
    processes: sums are rounded in another order, so the final weights are near those of an
    undisturbed run, not equal to them. BatchNorm that is not synchronised sees batches of
    another size.

    Raises:
        E2MCError: the numbers differ, and `ANY_PROCESSES` is not set.
    """
    if before == now:
        return
    differs = (
        f"the state in {folder} was saved by {before} process(es), this run has {now}. Batches "
        "and sums are divided among processes, so the final weights will be those of an "
        "undisturbed run to rounding only, not to the bit"
    )
    if os.environ.get(ANY_PROCESSES) != "1":
        raise E2MCError(
            f"{differs}. Start it with {before} process(es); or set {ANY_PROCESSES}=1 in the "
            f"environment to resume anyway; or delete {folder} to start over."
        )
    print(f"WARNING: {differs} ({ANY_PROCESSES}=1 asked for it)", file=sys.stderr, flush=True)


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:012d}.pt"


def remove_states(folder: Path) -> None:
    """Delete all states of a run: it has finished, or they belong to another configuration."""
    for path in folder.glob("step-*"):
        path.unlink(missing_ok=True)


def _complete(folder: Path) -> list[Path]:
    """States with their mark, newest first."""
    return sorted(
        (
            mark.with_suffix(".pt")
            for mark in folder.glob(f"step-{'[0-9]' * 12}.sha256")
            if mark.is_file() and mark.with_suffix(".pt").is_file()
        ),
        reverse=True,
    )


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGUSR2 (Slurm's time limit, preemption) and SIGTERM set.

    The handlers must be in place before loader workers are forked: Slurm signals every process of
    a step, and a worker with the default action would die. Outside the main thread Python allows
    no handlers, and the event stays unset.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    previous = {number: signal.signal(number, ask) for number in (signal.SIGUSR2, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
