"""What has become of submitted jobs: asked of Slurm once for all of them, or of this machine."""

import getpass
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil
import submitit

from e2mc.cluster.records import Record
from e2mc.cluster.settings import Cluster, Stage
from e2mc.errors import E2MCError
from e2mc.files import read_json

ALIVE = {
    *("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_FED"),
    *("REQUEUE_HOLD", "SPECIAL_EXIT", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"),
}
LOST = {"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "GONE"}
"""Ends that say nothing about the job itself: it may be submitted again."""

COMMAND_SECONDS = 60


class Sighting(NamedTuple):
    """A job as the queue shows it."""

    job_id: str
    state: str
    name: str
    folder: str
    where: str
    restarts: int


class Queue(Protocol):
    """Where jobs run."""

    def jobs(self) -> dict[str, Sighting] | None:
        """All jobs of this user by id; None: no answer, ask again later."""

    def ends(self, job_ids: Iterable[str]) -> dict[str, str] | None:
        """How jobs ended that are no longer alive: id -> state; None: no answer."""

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Ask for an end of these jobs."""

    def submit(self, record: Record, stage: Stage, work: Callable[[], None]) -> str:
        """Submit a job and return its id."""


class SlurmQueue:
    """Slurm, through squeue, sacct, scancel, and submitit's sbatch."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def jobs(self) -> dict[str, Sighting] | None:
        """One squeue, whatever the number of jobs."""
        fields = "JobID:|,State:|,Name:|,WorkDir:|,NodeList:|,RestartCnt:|"
        command = ["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}"]
        answer = _ask([*command, f"--Format={fields}"])
        if answer is None:
            return None
        rows = [line.split("|")[:6] for line in answer.splitlines() if line.count("|") >= 6]
        return {
            row[0]: Sighting(row[0], row[1], row[2], row[3], row[4], int(row[5] or 0))
            for row in rows
        }

    def ends(self, job_ids: Iterable[str]) -> dict[str, str] | None:
        """One sacct; a memory kill shows in a step's row only."""
        ids = ",".join(job_ids)
        answer = _ask(
            ["sacct", "--noheader", "--parsable2", f"--jobs={ids}", "--format=JobID,State"]
        )
        if answer is None:
            return None
        ends: dict[str, str] = {}
        for row in answer.splitlines():
            step, state = row.split("|")
            job_id = step.split(".")[0]
            if "." not in step or state == "OUT_OF_MEMORY":
                ends[job_id] = state
        return ends

    def cancel(self, job_ids: Iterable[str]) -> None:
        """One scancel; jobs that have ended meanwhile do not matter."""
        _ask(["scancel", "--quiet", *job_ids])

    def submit(self, record: Record, stage: Stage, work: Callable[[], None]) -> str:
        """One sbatch."""
        executor = self._executor(record.submitit, stage)
        executor.update_parameters(job_name=record.name, comment=record.label)
        return str(executor.submit(work).job_id)

    def objection(self, stage: Stage) -> str | None:
        """What Slurm would say against a job of this stage; None: nothing. Submits nothing."""
        with tempfile.TemporaryDirectory() as folder:
            executor = self._executor(Path(folder), stage)
            script = executor._make_submission_file_text("true", "test")
        command = ["sbatch", "--test-only"]
        done = subprocess.run(command, input=script, capture_output=True, text=True)
        if done.returncode == 0:
            return None
        complaint: str = done.stderr.strip().splitlines()[-1]
        return complaint.removeprefix("allocation failure: ")

    def _executor(self, folder: Path, stage: Stage) -> Any:
        executor = submitit.SlurmExecutor(folder, stage.timeouts, python=self.cluster.python)
        place = self.cluster.partitions[stage.partition]
        executor.update_parameters(
            time=max(1, round(stage.hours * 60)),
            nodes=stage.nodes,
            ntasks_per_node=max(1, stage.gpus),
            gpus_per_node=stage.gpus or None,
            cpus_per_task=stage.cpus,
            mem=f"{round(stage.memory_gb * 1024)}MB",
            partition=place.partition,
            account=place.account,
            qos=place.qos,
            constraint=place.constraint,
            signal_delay_s=self.cluster.warning_seconds,
            setup=self.cluster.setup or None,
            # since Slurm 22.05 srun does not take the CPUs of its job by itself
            srun_args=[f"--cpus-per-task={stage.cpus}", "--kill-on-bad-exit=1"],
            additional_parameters={"requeue": True, **place.options},
        )
        return executor


class LocalQueue:
    """Processes of this machine, through submitit's local executor."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def jobs(self) -> dict[str, Sighting]:
        """submitit's controllers: a job's id is the number of its process."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, E2MCError):
                words = process.cmdline()
                if "submitit.local._local" not in words:
                    continue
                folder = process.cwd()
                name = read_json(Path(folder, words[-1]).parent / "job.json")["name"]
                job_id = str(process.pid)
                found[job_id] = Sighting(job_id, "RUNNING", name, folder, socket.gethostname(), 0)
        return found

    def ends(self, job_ids: Iterable[str]) -> dict[str, str]:
        """A process that is not there any more has ended without a result."""
        return dict.fromkeys(job_ids, "FAILED")

    def cancel(self, job_ids: Iterable[str]) -> None:
        """SIGTERM to the stages: they save what they can and end, and the job with them."""
        for job_id in job_ids:
            stages: list[psutil.Process] = []
            with suppress(psutil.Error):
                stages = psutil.Process(int(job_id)).children(recursive=True)
            for process in stages:
                with suppress(psutil.Error):
                    process.terminate()

    def submit(self, record: Record, stage: Stage, work: Callable[[], None]) -> str:
        """One process that starts and watches the job's own."""
        executor = submitit.LocalExecutor(record.submitit, stage.timeouts)
        executor.update_parameters(
            timeout_min=stage.hours * 60,
            tasks_per_node=max(1, stage.gpus),
            gpus_per_node=stage.gpus,
            signal_delay_s=self.cluster.warning_seconds,
        )
        return str(executor.submit(work).job_id)


def open_queue(cluster: Cluster) -> Queue:
    """The queue of this backend."""
    return LocalQueue(cluster) if cluster.backend == "local" else SlurmQueue(cluster)


def accounting_answers() -> bool:
    """Whether sacct works here; without it Slurm tells less about how a job ended."""
    return _ask(["sacct", "--noheader", "--allocations", "--starttime=now"]) is not None


def _ask(command: list[str]) -> str | None:
    """A Slurm command's answer; None if it failed, which it does while a daemon is away."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


_BUSY = re.compile(
    "contact slurm|timed out|refused|not responding|temporarily|Zero Bytes|MaxSubmitJob|"
    "slurmctld|Socket|Try again",
    re.IGNORECASE,
)


def is_busy(complaint: str) -> bool:
    """Whether sbatch may take the job later: nobody answers, or the user's queue is full."""
    return _BUSY.search(complaint) is not None
