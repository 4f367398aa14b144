"""What runs on a node: a rule's command line, again wherever Slurm interrupted it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2mc.errors import INTERRUPTED_STATUS

PATIENCE_SECONDS = 600
"""How long an interrupted job waits for Slurm to end it."""


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
        saving_seconds: how long a stage may take to save its state.
    """

    line: str
    folder: str
    log: str
    saving_seconds: float

    def __call__(self) -> None:
        """Run the command.

        Raises:
            RuntimeError: it failed; the message is one line.
        """
        rank, environment = _place()
        log = Path(self.folder, self.log)
        if rank > 0:
            log = log.with_name(f"{log.stem}.rank{rank}{log.suffix}")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
            if restarts != "0":
                node = os.environ.get("SLURMD_NODENAME", "?")
                stream.write(f"\nrestart {restarts}, on {node}\n".encode())
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
        if status == INTERRUPTED_STATUS or status < 0:
            _wait_for_slurm()
        if status != 0:
            raise RuntimeError(_why(status, log))

    def checkpoint(self, *_: Any) -> Any:
        """Called by submitit when Slurm has warned: let the stage save, then queue again."""
        from submitit.helpers import DelayedSubmission

        if not self._ended():
            self._process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + self.saving_seconds
        while time.monotonic() < deadline and not self._ended():
            time.sleep(0.1)
        self._remove_torn_pickles()
        return DelayedSubmission(Command(self.line, self.folder, self.log, self.saving_seconds))

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
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # the stage's own program lies beside this Python
    programs = Path(sys.executable).parent
    environment["PATH"] = f"{environment.get('PATH', os.defpath)}:{programs}"
    environment.setdefault("OMP_NUM_THREADS", environment.get("SLURM_CPUS_PER_TASK", "1"))
    if "SLURM_PROCID" not in environment and job.num_tasks > 1:
        environment |= {"RANK": str(job.global_rank), "LOCAL_RANK": str(job.local_rank)}
        environment |= {"WORLD_SIZE": str(job.num_tasks), "MASTER_ADDR": "127.0.0.1"}
        environment["MASTER_PORT"] = str(20000 + int(job.job_id) % 20000)
    return job.global_rank, environment


def _wait_for_slurm() -> None:
    """Interrupted, not failed: Slurm is about to end or requeue this job. Give it the time."""
    if "SLURM_JOB_ID" in os.environ:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(1)


def _why(status: int, log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    last = lines[-1].strip() if lines else "it wrote nothing"
    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    return f"{how}: {last}"
