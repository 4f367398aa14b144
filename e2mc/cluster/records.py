"""One file per job tells a second head what the first one submitted."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from e2mc.errors import E2MCError
from e2mc.files import digest, read_json, write_json
from e2mc.plan.layout import job_folder

DONE, FAILED, CANCELLED, SUBMITTING = "DONE", "FAILED", "CANCELLED", "SUBMITTING"
"""Our own words for a job's state; all others are Slurm's. DONE: Snakemake has the outputs."""

SETTLED = (DONE, FAILED, CANCELLED)
"""No other head will attach to a job in one of these states."""


@dataclass
class Record:
    """A job from its submission on. Field names are those of job.json."""

    rule: str
    name: str
    """In squeue."""
    command: str
    fingerprint: str
    """Of command, parameters and inputs: another one means that the job is out of date."""
    log: str
    tasks: int
    """Processes."""
    gpus: int
    nodes: int
    workdir: str = field(default_factory=lambda: str(Path.cwd()))
    """Folder it was submitted from."""
    job_id: str | None = None
    state: str = SUBMITTING
    reason: str | None = None
    where: str | None = None
    submitted: float | None = None
    seen: float = field(default_factory=time.time)
    restarts: int = 0
    resubmissions: int = 0

    @property
    def identity(self) -> str:
        """What tells it from other jobs that have, or had, its number."""
        return identity(self.workdir, self.name)

    @property
    def folder(self) -> Path:
        """Of this record and of what submitit writes."""
        return job_folder(self.log)

    @property
    def submitit(self) -> Path:
        """Pickles and outputs, their names beginning with the job's id.

        It is there before the job is: with submitit's `%j` a quick job may look for a folder that
        does not exist yet.
        """
        return self.folder / "submitit"

    @property
    def label(self) -> str:
        """Stage and job, as a person would say it."""
        return f"{Path(self.log).parent.name}/{Path(self.log).stem}"

    def write(self) -> None:
        """Keep it; atomic."""
        self.seen = time.time()
        write_json(self.folder / "job.json", asdict(self))


def read_record(log: Path | str) -> Record | None:
    """The record of the job that writes this log; None: never submitted, or unreadable."""
    try:
        return Record(**read_json(job_folder(log) / "job.json"))
    except (E2MCError, TypeError):
        return None


def job_name(log: str) -> str:
    """`demo/pretrain/vicreg-40-e2mc-trial0`: what a person looks for in squeue."""
    parts = [part for part in Path(log).with_suffix("").parts if part not in ("results", "logs")]
    return "/".join(parts)


def identity(workdir: str, name: str) -> str:
    """Folder and name of a job as squeue and sacct show them side by side."""
    return f"{workdir}|{name}"


def fingerprint(command: str, parameters: Mapping[str, Any], inputs: list[str]) -> str:
    """What a job depends on; an input counts by its time of modification."""
    times = {path: Path(path).stat().st_mtime_ns for path in sorted(inputs)}
    return digest([command, {key: str(value) for key, value in parameters.items()}, times])
