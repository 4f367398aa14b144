"""What runs on a node: a rule's command line, again wherever Slurm interrupted it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from e2mc.cluster.results import Death, death_file
from e2mc.errors import INTERRUPTED_STATUS, E2MCError
from e2mc.files import write_json
from e2mc.gpus import take_gpu

PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torch.distributed would believe of a process; another job's must not be inherited."""

PATIENCE_SECONDS = 600
"""How long an interrupted job waits for Slurm to end it."""

KILLED_SECONDS = 5
"""How long a job waits whose process was killed: if by Slurm, the job itself follows at once."""

EARLY_SECONDS = 60
"""Slurm may warn of the end so much earlier than it was asked to."""

_INTERRUPTIONS = (
    INTERRUPTED_STATUS,
    *(-number for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)),
)


@dataclass
class Command:
    """A callable for submitit, which calls it in every process of the job.

    On Slurm's warning (SIGUSR2) submitit calls `checkpoint`, which waits until the stage below
    has saved its state and ended, and queues the job again. Nothing of the stage's state is in
    the pickle.

    Attributes:
        line: shell command, without redirection.
        folder: working directory.
        log: what the command writes; further processes write `<log>.rank<n>.log`.
        limit_seconds: the job's time limit.
        warning_seconds: how long before it Slurm warns.
        timeouts: how often the limit may still be reached.
    """

    line: str
    folder: str
    log: str
    limit_seconds: float
    warning_seconds: float
    timeouts: int

    def __call__(self) -> None:
        """Run the command.

        Raises:
            RuntimeError: it failed; the message is one line.
        """
        self._started = time.monotonic()
        rank, environment = _place()
        name = Path(self.log)
        if rank > 0:
            name = name.with_name(f"{name.stem}.rank{rank}{name.suffix}")
        log = self.folder / name
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            if _restarts():
                node = os.environ.get("SLURMD_NODENAME", "?")
                stream.write(f"\nrestart {_restarts()}, on {node}\n".encode())
                stream.flush()
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {self.line}"],
                cwd=self.folder,
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            # not Popen.wait: its lock would deadlock `checkpoint`, which runs in a signal handler
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        status = self._process.wait()
        if status in _INTERRUPTIONS:
            _wait_for_slurm(PATIENCE_SECONDS)
        if status != 0:
            error = _why(status, log)
            _report_death(Death(time.time(), _restarts(), status, error, str(name)), rank)
            if status == -signal.SIGKILL:
                _wait_for_slurm(KILLED_SECONDS)
            raise RuntimeError(error)

    def checkpoint(self, *_: Any) -> Any:
        """Called by submitit when Slurm has warned: let the stage save, then queue again.

        Raises:
            RuntimeError: the time limit was reached too often.
        """
        from submitit.helpers import DelayedSubmission

        ran = time.monotonic() - self._started
        timed_out = ran >= self.limit_seconds - self.warning_seconds - EARLY_SECONDS
        if not self._ended():
            self._process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + self._saving_seconds()
        while time.monotonic() < deadline and not self._ended():
            time.sleep(0.1)
        self._remove_torn_pickles()
        left = self.timeouts - timed_out
        if left < 0:
            raise RuntimeError(
                f"reached its time limit ({self.limit_seconds / 3600:.3g} h) once more than "
                "`timeouts` allows; raise `hours` or `timeouts` of its stage"
            )
        return DelayedSubmission(replace(self, timeouts=left))

    def _saving_seconds(self) -> float:
        """Slurm takes up to the warning to let a job save its state, and a breath to queue it."""
        return max(1.0, self.warning_seconds * 0.8)

    def _ended(self) -> bool:
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        try:
            return os.waitid(os.P_PID, self._process.pid, options) is not None
        except ChildProcessError:
            return True

    def _remove_torn_pickles(self) -> None:
        """One crash of submitit while it saves would spoil every later requeue of the job."""
        from submitit import JobEnvironment

        job = JobEnvironment()
        for torn in Path(os.environ["SUBMITIT_FOLDER"]).glob(f"{job.job_id}_*.save_tmp"):
            torn.unlink(missing_ok=True)


def _place() -> tuple[int, dict[str, str]]:
    """This process's rank, and the environment its stage runs in."""
    from submitit import JobEnvironment

    job = JobEnvironment()
    environment = {name: value for name, value in os.environ.items() if name not in PLACE}
    environment["PYTHONUNBUFFERED"] = "1"
    # the stage's own program lies beside this Python
    programs = Path(sys.executable).parent
    environment["PATH"] = f"{environment.get('PATH', os.defpath)}:{programs}"
    environment.setdefault("OMP_NUM_THREADS", environment.get("SLURM_CPUS_PER_TASK", "1"))
    if "SLURM_PROCID" not in environment:
        gpu = take_gpu()
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        if job.num_tasks > 1:
            environment |= {"RANK": str(job.global_rank), "LOCAL_RANK": str(job.local_rank)}
            environment |= {"WORLD_SIZE": str(job.num_tasks), "MASTER_ADDR": "127.0.0.1"}
            environment["MASTER_PORT"] = str(20000 + int(job.job_id) % 20000)
    return job.global_rank, environment


def _restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _report_death(death: Death, rank: int) -> None:
    from submitit import JobEnvironment

    folder = Path(os.environ["SUBMITIT_FOLDER"])
    with suppress(E2MCError):  # the disk is full, say: what the process died of matters more
        write_json(death_file(folder, JobEnvironment().job_id, rank), death._asdict())


def _wait_for_slurm(seconds: float) -> None:
    """Interrupted, not failed: Slurm is about to end or requeue this job. Give it the time."""
    if "SLURM_JOB_ID" in os.environ:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(1)


def _why(status: int, log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    last = lines[-1].strip() if lines else "it wrote nothing"
    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    return f"{how}: {last}"
