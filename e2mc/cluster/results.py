"""What a job left behind: submitit's result, and Slurm's last word."""

import os
import pickle
import re
from typing import NamedTuple

from e2mc.cluster.records import Record

_COMPLAINT = re.compile(r"^(slurmstepd|srun)\S*: error: (.*)$", re.MULTILINE)
_NOT_LAUNCHED = re.compile("Unable to create step|launch failed|Unable to launch")


class Outcome(NamedTuple):
    """A job that has come to its own end."""

    error: str | None
    """One line; None: success."""


def outcome(record: Record) -> Outcome | None:
    """The result of all processes of the job; None while one is missing.

    A failure of one process counts at once: the others are killed without a result.
    """
    folder = record.submitit
    files = [f"{record.job_id}_{task}_result.pkl" for task in range(record.tasks)]
    try:
        # listing a folder makes a client of a network file system look again
        there = set(os.listdir(folder))  # noqa: PTH208
        results = [pickle.loads((folder / file).read_bytes()) for file in files if file in there]
    except (OSError, EOFError, pickle.UnpicklingError):
        return None
    for kind, value in results:
        if kind == "error":
            return Outcome(_last_line(value))
    return Outcome(None) if len(results) == len(files) else None


def slurm_complaint(record: Record) -> str | None:
    """What Slurm wrote into the job's output: its daemon's last word (a memory limit, say), or
    that of srun.
    """
    for file in sorted(record.submitit.glob(f"{record.job_id}_*_log.err")):
        said = dict(_COMPLAINT.findall(file.read_text(errors="replace")))
        if said:
            return str(said.get("slurmstepd", said.get("srun"))).strip(" *")
    return None


def was_launched(complaint: str | None) -> bool:
    """False if Slurm could not even start the job's processes, which says nothing about the job."""
    return complaint is None or _NOT_LAUNCHED.search(complaint) is None


def _last_line(error: str) -> str:
    """The message of a traceback, without the exception's name."""
    line = error.strip().splitlines()[-1]
    name, _, message = line.partition(": ")
    return message if message and " " not in name else line
