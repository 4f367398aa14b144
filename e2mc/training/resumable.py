"""What makes a run resumable at any step: pre-training and fine-tuning share it.

A stage opens a `session`, lets `States` resume its run, takes the batches that are `remaining`, and
after each step calls `States.between_steps`, which saves the run and heeds signals.
"""

import faulthandler
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from e2mc.config.settings import OnGPU
from e2mc.data.views import TrainingViews
from e2mc.training import state as files
from e2mc.training.arithmetic import set_arithmetic
from e2mc.training.distributed import Place, find_place, from_rank_zero, on_any_rank
from e2mc.training.process_group import patience, process_group

SAVE_SECONDS = 300.0
"""Time between two states: what a kill may cost."""

STANDARD_ERROR = 2
"""The file descriptor: `sys.stderr` may be something without one."""


class Resumable(Protocol):
    """What changes while a model learns.

    Attributes:
        identity: hash of all that decides the outcome; a state of another identity is not
            resumed.
        step: steps done.
        processes: how many it ran on, one number per change.
    """

    identity: str
    step: int
    processes: list[int]

    def state_dict(self) -> dict[str, Any]:
        """Everything else that is needed to go on, as tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same identity."""


class Session(NamedTuple):
    """One start of a stage, in one of its processes."""

    place: Place
    stop: Event
    """Set when a signal asks the stage to save its state and end."""
    writer: Executor
    """One thread, which writes states while the training goes on."""


@contextmanager
def session(folder: Path, settings: OnGPU) -> Iterator[Session]:
    """Set up torch, hold the run directory, hear signals and meet the other processes.

    Args:
        folder: run directory.
        settings: of the stage.

    Raises:
        E2MCError: another training holds the run directory.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # several trainings usually share a machine
    place = find_place()
    set_arithmetic(settings)
    lock = files.run_lock(folder) if place.rank == 0 else nullcontext()
    with (
        _watched(),
        files.stop_signals() as stop,
        process_group(place),
        lock,
        ThreadPoolExecutor(max_workers=1) as writer,
    ):
        yield Session(place, stop, writer)


@contextmanager
def _watched() -> Iterator[None]:
    show_life()
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def show_life() -> None:
    """Put off the end of this process, which a hang would otherwise keep, with its GPU, for ever.

    After `patience` seconds in which nobody calls this, the stacks of all threads are printed and
    the process ends with status 1. A thread outside Python does so, whatever Python waits for.
    """
    faulthandler.dump_traceback_later(patience(), exit=True, file=STANDARD_ERROR)


class Batch(NamedTuple):
    """One step's images."""

    views: list[Tensor]
    """Each (n, 3, height, width), channels last, on the device."""
    labels: Tensor
    """(n,) int64."""
    waited: float
    """Seconds it took to come."""


def remaining(run: Resumable, data: TrainingViews, epochs: int) -> Iterator[Batch]:
    """The batches of all steps that are left; the caller counts them in `run.step`."""
    for epoch in range(run.step // data.steps, epochs):
        since = time.perf_counter()
        for views, labels in data.epoch(epoch, run.step - epoch * data.steps):
            ordered = [view.contiguous(memory_format=torch.channels_last) for view in views]
            yield Batch(ordered, labels, time.perf_counter() - since)
            since = time.perf_counter()


class States:
    """The states of one run: found when it starts, saved while it goes on.

    Args:
        folder: of the states, see `e2mc.training.state`.
        here: this start of the stage.
    """

    def __init__(self, folder: Path, here: Session) -> None:
        self.folder, self.here = folder, here
        self.saved = time.perf_counter()
        self.writing: Future[None] | None = None

    def resume(self, run: Resumable) -> None:
        """Go on from the newest complete state of this run, if there is one.

        Raises:
            E2MCError: the state was saved by another number of processes; see
                `e2mc.training.state.admit_processes`.
        """
        place = self.here.place
        step, state = self._newest(run) if place.rank == 0 else (0, {})
        step = from_rank_zero(step, place)
        if step == 0:
            return
        if place.rank > 0:
            state = files.load_state(self.folder, step, place.device)
        run.load_state_dict(state)
        run.step = step
        before = state["processes"]
        run.processes = before + [now for now in run.processes if now != before[-1]]

    def _newest(self, run: Resumable) -> tuple[int, dict[str, Any]]:
        """The newest state that this run can go on from; step 0: none."""
        found = files.load_newest_state(self.folder, self.here.place.device)
        if found is None:
            return 0, {}
        step, state = found
        if not isinstance(state, dict) or state.get("identity") != run.identity:
            print(
                f"the state in {self.folder} belongs to another configuration or model: "
                "starting anew",
                flush=True,
            )
            files.remove_states(self.folder)
            return 0, {}
        files.admit_processes(self.folder, state["processes"][-1], self.here.place.world_size)
        return step, state

    def between_steps(self, run: Resumable, last: int) -> None:
        """Save the run if it is time to, and after its last step; end if a signal asks for it.

        All processes call this after every step, and all of them stop after the same one. Only
        the last state is waited for; others are written while the training goes on.

        Raises:
            E2MCError: the disk is full or the folder cannot be written; it may be the state
                before that could not.
            Interrupted: SIGUSR2 or SIGTERM came to one of the processes; the state is saved.
        """
        show_life()
        due = run.step == last or time.perf_counter() - self.saved >= SAVE_SECONDS
        stopping, due = on_any_rank((self.here.stop.is_set(), due), self.here.place)
        if stopping or due:
            self._save(run)
            self.saved = time.perf_counter()
        if stopping or run.step == last:
            self._wait()
        if stopping:
            print(f"stopped after step {run.step}; start again to go on", flush=True)
            raise files.Interrupted

    def _save(self, run: Resumable) -> None:
        """One process writes for all, whose states are equal."""
        if self.here.place.rank > 0:
            return
        self._wait()
        common = {"identity": run.identity, "processes": run.processes}
        state = files.snapshot({**common, **run.state_dict()})
        self.writing = self.here.writer.submit(files.save_state, self.folder, run.step, state)

    def _wait(self) -> None:
        """Until no state is being written."""
        if self.writing is not None:
            self.writing.result()
