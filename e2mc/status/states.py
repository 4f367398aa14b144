"""What every job of an experiment is doing, told from files alone.

Jobs and this look at them never speak with each other: results, logs, locks, `progress.json` of
trainings and `job.json` of cluster jobs say everything, while all of it changes. Nothing heavy is
imported.
"""

import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from e2mc.cluster.records import CANCELLED, DONE, FAILED, SETTLED, Record, read_record
from e2mc.config.experiment import Experiment
from e2mc.config.protocols import PROTOCOLS, dataset_of
from e2mc.errors import E2MCError
from e2mc.files import read_json
from e2mc.lock import STALE_SECONDS, holder
from e2mc.plan import layout
from e2mc.plan.jobs import EXTRACTIONS, Job, jobs

STATES = ("done", "running", "queued", "unmonitored", "interrupted", "failed", "not started")
"""`queued`: in Slurm's queue; `unmonitored`: in Slurm's hands, but no head is there to look."""

WATCHED_SECONDS = 180.0
"""A head looks at each of its cluster jobs every minute."""

_TAIL = 8192
_ERROR = re.compile(r"^(e2mc [\w-]+: |(/\S+/)?(ba)?sh: )")


class Status(NamedTuple):
    """What one job is doing.

    Attributes:
        job: the job.
        state: one of `STATES`.
        note: why it failed, ended or waits; of a job that runs, the last words of its log.
        progress: content of `progress.json` of a training or fine-tuning that has begun.
        record: of a cluster job.
        tail: last lines of the log of a job that failed.
    """

    job: Job
    state: str
    note: str = ""
    progress: Mapping[str, Any] = {}
    record: Record | None = None
    tail: tuple[str, ...] = ()


def statuses(experiment: Experiment, results: Path) -> list[Status]:
    """All jobs of an experiment, in the order of its stages.

    Args:
        experiment: the experiment.
        results: its results folder, which need not exist.
    """
    look = _Look(results)
    found = [look.at(job) for job in jobs(experiment)]
    states = {(one.job.stage, one.job.name): one.state for one in found}
    return [Status(one.job, "done") if _is_spent(one, states) else one for one in found]


def _is_spent(status: Status, states: Mapping[tuple[str, str], str]) -> bool:
    """Features that were deleted when all that reads them was done are no work left to do."""
    if status.job.stage not in EXTRACTIONS or status.state not in ("interrupted", "not started"):
        return False
    readers = {
        protocol.stage
        for protocol in PROTOCOLS
        if protocol.cached and dataset_of(protocol.dataset or "").extraction == status.job.stage
    }
    name = status.job.name
    return all(
        state == "done"
        for (stage, job), state in states.items()
        if stage in readers and (job == name or job.startswith(f"{name}-"))
    )


class _Look:
    """One look at a results folder."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.now = time.time()
        self.head = head_of(results)

    def at(self, job: Job) -> Status:
        if all((self.results / file).exists() for file in job.outputs):
            return Status(job, "done")
        log = self.results / job.log
        progress = _read(self.results / job.state / "progress.json") if job.state else {}
        record = read_record(log)
        if record is not None and record.state in SETTLED and _modified(log) > record.seen + 60:
            record = None  # a later start was not on the cluster
        seen = Status(job, "running", "", progress, record)
        lines = _last_lines(log)
        if self._runs(job, log, progress):
            return seen._replace(note="" if progress or not lines else lines[-1])
        if record is not None and record.state not in SETTLED:
            if self.head is None or self.now - record.seen > WATCHED_SECONDS:
                return seen._replace(state="unmonitored")
            if record.state not in ("RUNNING", "COMPLETING"):
                return seen._replace(state="queued", note=record.reason or "")
            return seen._replace(note=record.reason or "")
        return self._not_running(seen, lines)

    def _runs(self, job: Job, log: Path, progress: Mapping[str, Any]) -> bool:
        """Whether a process says so: by its lock, its heartbeat, or fresh progress."""
        if job.state and holder(self.results / job.state / "lock"):
            return True
        return holder(layout.heartbeat(log)) is not None or self._reports(progress)

    def _reports(self, progress: Mapping[str, Any]) -> bool:
        if progress.get("status") != "running":
            return False
        if self.now - progress.get("updated", 0) > STALE_SECONDS:
            return False
        here = progress.get("host") == socket.gethostname()
        return not here or Path(f"/proc/{progress.get('pid')}").exists()

    def _not_running(self, seen: Status, lines: list[str]) -> Status:
        record, progress = seen.record, seen.progress
        failed = seen._replace(state="failed", tail=tuple(lines[-5:]))
        if record is not None and record.state == FAILED:
            return failed._replace(note=record.reason or "")
        if record is not None and record.state == CANCELLED:
            return seen._replace(state="interrupted", note=record.reason or "cancelled")
        finished = progress.get("status") == "finished" or (record and record.state == DONE)
        if finished or not (progress or (self.results / seen.job.log).exists()):
            return Status(seen.job, "not started")
        error = _error(lines)
        if error or progress.get("status") == "failed":
            return failed._replace(note=error or "")
        return seen._replace(state="interrupted", note=self._interrupted(seen.job, progress))

    def _interrupted(self, job: Job, progress: Mapping[str, Any]) -> str:
        if not job.state:
            return "killed, or its results were removed"
        how = "told to stop" if progress.get("status") == "interrupted" else "killed"
        saved = any((self.results / job.state).rglob("step-*.sha256"))
        return f"{how}; {'its state is saved' if saved else 'no state was saved yet'}"


def head_of(results: Path) -> str | None:
    """The snakemake that is at work on a results folder, if one is."""
    return holder(results / layout.HEAD_LOCK)


def _error(lines: list[str]) -> str | None:
    """What a stage that failed has said: one message, or a traceback's last line."""
    for line in reversed(lines):
        if _ERROR.match(line):
            return line
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return lines[-1]
    return None


def _last_lines(log: Path) -> list[str]:
    """Lines that are not blank, of the end of a log; none if there is no log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = read_json(path)
    except (E2MCError, OSError):
        return {}
    return content if isinstance(content, dict) else {}


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
