"""What an experiment has cost so far, summed over the records of its jobs."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from e2mc.config import Experiment
from e2mc.files import read_json
from e2mc.plan.jobs import STAGES, Job, jobs
from e2mc.plan.quantities import duration


class Cost(NamedTuple):
    """What some jobs have cost."""

    jobs: int
    """Those that said so."""
    seconds: float
    """Wall-clock, one job after another."""
    gpu_hours: float
    restarts: int

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.gpu_hours:.1f} GPU-hours and {duration(self.seconds)} of computing; "
            f"jobs: {self.jobs}, restarts: {self.restarts}"
        )


def costs(experiment: Experiment, results: Path) -> dict[str, Cost]:
    """Cost by stage, in the order of the stages; jobs without a result are left out."""
    spent: dict[str, list[dict[str, Any]]] = {}
    for job in jobs(experiment):
        records = list(_records(job, results))
        if records:
            dearest = max(records, key=lambda record: float(record["seconds"]))
            spent.setdefault(job.stage, []).append(dearest)
    return {stage: _sum(spent[stage]) for stage in STAGES if stage in spent}


def total(parts: Iterable[Cost]) -> Cost:
    """The sum of all stages."""
    return Cost(*(sum(column) for column in zip(Cost(0, 0.0, 0.0, 0), *parts, strict=True)))


def _records(job: Job, results: Path) -> Iterator[dict[str, Any]]:
    """Of an older extraction there may be none."""
    for file in job.records:
        if (results / file).exists():
            record = read_json(results / file).get("cost")
            if record:
                yield record


def _sum(records: list[dict[str, Any]]) -> Cost:
    return Cost(
        jobs=len(records),
        seconds=sum(record["seconds"] for record in records),
        gpu_hours=sum(record.get("gpu_hours", 0.0) for record in records),
        restarts=sum(record.get("restarts", 0) for record in records),
    )
