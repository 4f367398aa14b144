"""What a head writes down about its jobs, for others to read, and tells the user."""

import time
from collections import defaultdict
from typing import Any

from e2mc.cluster.queues import Sighting
from e2mc.cluster.records import Record
from e2mc.cluster.waiting import Waiting, is_worth_telling, reason_to_wait

FRESH_SECONDS = 60
"""A record that has not been touched for longer is written again: its job is looked at."""


class Notes:
    """Every change once.

    Args:
        logger: Snakemake's.
        patience: the site's, in seconds.
    """

    def __init__(self, logger: Any, patience: float) -> None:
        self.logger = logger
        self.patience = patience
        self._waits: defaultdict[str, list[Record]] = defaultdict(list)

    def see(self, waiting: Waiting, sighting: Sighting) -> None:
        """A job that is alive."""
        record, reason = waiting.record, reason_to_wait(sighting)
        if waiting.is_completing_long(sighting, self.patience):
            reason = f"{sighting.where or 'its node'} does not let go of it (COMPLETING)"
        if sighting.restarts > record.restarts:
            self.say(record, f"job {record.job_id} was queued again by Slurm")
        elif sighting.state != record.state and sighting.state == "RUNNING":
            self.say(record, f"job {record.job_id} runs on {sighting.where}")
        before = (record.state, record.restarts, record.reason)
        if before != (sighting.state, sighting.restarts, reason) or _is_stale(record):
            record.state, record.restarts, record.reason = sighting.state, sighting.restarts, reason
            record.where = sighting.where or record.where
            record.write()
        self._tell_once(waiting, reason)

    def wait(self, waiting: Waiting, reason: str) -> None:
        """A job that may be alive."""
        self.keep(waiting.record, reason)
        self._tell_once(waiting, reason)

    def keep(self, record: Record, reason: str) -> None:
        """Why nothing happens to a job; not told."""
        if record.reason != reason or _is_stale(record):
            record.reason = reason
            record.write()

    def say(self, record: Record, text: str) -> None:
        """Tell something about a job."""
        self.logger.info(f"{record.label}: {text}")

    def tell(self) -> None:
        """One line for all jobs that now wait for the same reason."""
        for reason, records in self._waits.items():
            others = f" and {len(records) - 1} more" if len(records) > 1 else ""
            job = f"job {records[0].job_id}" if records[0].job_id else "the job"
            self.say(records[0], f"{job}{others} waits: {reason}")
        self._waits.clear()

    def _tell_once(self, waiting: Waiting, reason: str | None) -> None:
        if reason != waiting.told and is_worth_telling(reason):
            self._waits[str(reason)].append(waiting.record)
            waiting.told = reason


def _is_stale(record: Record) -> bool:
    return time.time() - record.seen > FRESH_SECONDS
