"""What a job left behind: submitit's result, and the last words of its processes and of Slurm."""

import os
import pickle
import re
from pathlib import Path
from typing import NamedTuple

from e2mc.cluster.records import Record
from e2mc.errors import E2MCError
from e2mc.files import read_json

_COMPLAINT = re.compile(r"^(slurmstepd|srun)\S*: error: (.*)$", re.MULTILINE)
_NOT_LAUNCHED = re.compile(
    "Unable to (create step|launch|confirm allocation)|launch failed|Unable to contact slurm"
)
_OF_SLURM = re.compile(r"^(slurmstepd|srun|submitit|slurmd)\b")
_REQUEUE = re.compile(r"'scontrol', 'requeue'")
"""Last words of a job that asked to be queued again and got no good answer. Slurm knows whether it
was: its SIGTERM may be faster than its answer, and it refuses where a user queues the same job
again at that moment."""

_KILLED = re.compile("killed by signal 9|killed by signal: Killed")
"""A process of the job, or a worker of its data loader."""

_CRASHES = (9, 11, 7, 4, 8)
"""Signals whose victims did not die of another process's death: KILL, SEGV, BUS, ILL, FPE."""

_CLOCKS_DIFFER_SECONDS = 5


class Outcome(NamedTuple):
    """A job that has come to its own end."""

    error: str | None
    """One line; None: success."""
    log: str = ""
    """Of the process that failed."""

    @property
    def killed(self) -> bool:
        """Whether somebody ended it who may be Slurm, or the kernel for want of memory."""
        return self.error is not None and _KILLED.search(self.error) is not None


class Death(NamedTuple):
    """How one process of a job failed. Field names are those of the file."""

    seconds: float
    """Since the epoch."""
    restarts: int
    status: int
    """As of subprocess: negative for a signal."""
    error: str
    log: str


def death_file(folder: Path, job_id: str, rank: int) -> Path:
    """Where a process that fails says so at once; its result may wait, or never come."""
    return folder / f"{job_id}_{rank}_death.json"


def outcome(record: Record) -> Outcome | None:
    """The result of all processes of the job; None while one is missing.

    A failure of one process counts at once: the others are killed without a result.
    """
    results = _results(record)
    for kind, value in results.values():
        if kind == "error" and _REQUEUE.search(_last_line(value)):
            return None
        if kind == "error":
            return Outcome(*(_first_death(record) or (_last_line(value), record.log)))
    return Outcome(None) if len(results) == record.tasks else None


def _results(record: Record) -> dict[Path, tuple[str, str]]:
    """What submitit wrote of every process that has ended: "success" or "error", and a traceback;
    nothing while one of them is being written.
    """
    folder = record.submitit
    files = [f"{record.job_id}_{task}_result.pkl" for task in range(record.tasks)]
    try:
        # listing a folder makes a client of a network file system look again
        there = set(os.listdir(folder))  # noqa: PTH208
        found = [folder / file for file in files if file in there]
        return {file: pickle.loads(file.read_bytes()) for file in found}
    except (OSError, EOFError, pickle.UnpicklingError):
        return {}


def _first_death(record: Record) -> tuple[str, str] | None:
    """Error and log of the process that failed first; the others tend to blame each other."""
    deaths = []
    for rank in range(record.tasks):
        try:
            deaths.append(Death(**read_json(death_file(record.submitit, str(record.job_id), rank))))
        except (E2MCError, TypeError):
            continue
    latest = max((death.restarts for death in deaths), default=0)
    deaths = [death for death in deaths if death.restarts == latest]
    if not deaths:
        return None
    first = min(deaths, key=lambda death: (-death.status not in _CRASHES, death.seconds))
    return first.error, first.log


def slurm_complaint(record: Record) -> str | None:
    """What Slurm wrote into the job's output: its daemon's last word (a memory limit, say), or
    that of srun.
    """
    for text in _error_files(record).values():
        said = dict(_COMPLAINT.findall(text))
        if said:
            return str(said.get("slurmstepd", said.get("srun"))).strip(" *")
    return None


def was_launched(complaint: str | None) -> bool:
    """False if Slurm could not even start the job's processes, which says nothing about the job."""
    return complaint is None or _NOT_LAUNCHED.search(complaint) is None


def last_words(record: Record) -> tuple[str, str | None]:
    """The log that tells most of a job without a result, and what it says if it is not the stage's.

    A job that failed before its stage wrote anything, or since it did, is explained by submitit.
    """
    log = Path(record.log)
    begun = (record.submitted or 0) - _CLOCKS_DIFFER_SECONDS
    try:
        written = log.stat().st_mtime if log.stat().st_size else 0.0
    except OSError:
        written = 0.0
    for file, (kind, value) in _results(record).items():
        if kind == "error" and file.stat().st_mtime >= written:
            return str(file).replace("_result.pkl", "_log.err"), _last_line(value)
    if written and written >= begun:
        return record.log, None
    for file, text in _error_files(record).items():
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        theirs = [line for line in lines if not _OF_SLURM.match(line)]
        if theirs:
            return str(file), theirs[-1]
    return record.log, None


def _error_files(record: Record) -> dict[Path, str]:
    """What the job's processes and Slurm wrote besides the log, by file."""
    files = sorted(record.submitit.glob(f"{record.job_id}_*_log.err"))
    return {file: file.read_text(errors="replace") for file in files}


def _last_line(error: str) -> str:
    """The message of a traceback, without the exception's name."""
    line = error.strip().splitlines()[-1]
    name, _, message = line.partition(": ")
    return message if message and " " not in name else line
