"""A job that is waited for: whether it still lives, why it does not run, how it ended."""

import re
import time
from dataclasses import dataclass
from typing import NamedTuple

from e2mc.cluster.queues import GONE, Sighting, is_alive, is_lost
from e2mc.cluster.records import Record
from e2mc.cluster.results import Outcome, last_words, slurm_complaint, was_launched
from e2mc.cluster.settings import Stage

DOUBT = 10
"""Patience with a job that nobody knows, as a multiple of that with one that is known to have
ended: squeue may answer late or for others, and accounting may be away."""


@dataclass
class Waiting:
    """A job that Snakemake waits for."""

    record: Record
    stage: Stage
    found: bool = False
    """Taken over from an earlier head."""
    cautious: bool = False
    """Something may still run under its name: look before it is submitted."""
    gone_since: float | None = None
    """When it was first not seen alive, or seen to have failed."""
    end: str | None = None
    """The state in which the queue showed it then; None: it did not show it."""
    failure: Outcome | None = None
    """Its own failure, of which Slurm may know the cause."""
    unfinished_since: float | None = None
    """When it was first seen to have ended well without its outputs."""
    completing_since: float | None = None
    told: str | None = None
    """Why it waits, as the user was told last."""

    def gone_for(self) -> float:
        """Seconds."""
        return time.monotonic() - self.gone_since if self.gone_since is not None else 0.0

    def see(self, sighting: Sighting | None) -> bool:
        """Take note of what the queue shows under its number; whether it is alive."""
        mine = sighting is not None and sighting.identity == self.record.identity
        if mine and sighting is not None and is_alive(sighting.state):
            self.gone_since, self.end = None, None
            return True
        if self.gone_since is None:
            self.gone_since = time.monotonic()
        if sighting is not None:
            # a number that has gone to another job is as good as an end
            self.end = sighting.state if mine else GONE
        return False

    def ended_as(self, history: str | None, patience: float) -> str | None:
        """The state in which it has ended; None as long as it may be alive.

        Args:
            history: what accounting calls it; None: it does not know.
            patience: seconds for a job that is known to have ended.
        """
        doubtful = self.gone_for() < DOUBT * patience
        if history is not None and not is_alive(history):
            # Slurm may have queued it again, which accounting learns late
            return None if is_lost(history) and self.end is None and doubtful else history
        if self.end is not None:
            # accounting lags behind; but a second copy is worse than a wait
            return None if history is not None and is_lost(self.end) and doubtful else self.end
        return GONE if history is None and not doubtful else None

    def doubt(self, history: str | None, patience: float) -> str:
        """Why it is waited for although the queue does not show it."""
        if history is not None and is_alive(history):
            return f"squeue does not list it, sacct calls it {history.split()[0]}"
        if history is not None:
            return f"sacct calls it {history}, but Slurm may have queued it again"
        minutes = DOUBT * patience / 60
        return f"neither squeue nor sacct knows it; it counts as lost after {minutes:.3g} min"

    def is_completing_long(self, sighting: Sighting, patience: float) -> bool:
        """Whether its node does not let go of it."""
        if sighting.state != "COMPLETING":
            self.completing_since = None
            return False
        if self.completing_since is None:
            self.completing_since = time.monotonic()
        return time.monotonic() - self.completing_since > DOUBT * patience


_ORDINARY = {"", "None", "(null)", "Priority", "Resources", "BeginTime", "Prolog", "Cleaning"}
_HELD = re.compile("held", re.IGNORECASE)
_MEMORY = re.compile("OUT_OF_MEMORY|memory limit|oom[ _-]kill|out of memory", re.IGNORECASE)


def reason_to_wait(sighting: Sighting) -> str | None:
    """Why Slurm does not let a job run, and what ends it; None if it runs."""
    stopped = ("SUSPENDED", "STOPPED", "REQUEUE_HOLD", "SPECIAL_EXIT")
    reason = sighting.reason if sighting.state == "PENDING" else None
    reason = sighting.state if sighting.state in stopped else reason
    if not reason or reason in ("None", "(null)"):
        return None
    if _HELD.search(reason) or sighting.state in ("REQUEUE_HOLD", "SPECIAL_EXIT"):
        return f"{reason} (to let it go: scontrol release JOB)"
    return reason


def is_worth_telling(reason: str | None) -> bool:
    """Whether a wait may need a person; every job waits for its turn."""
    return reason is not None and reason not in _ORDINARY


class End(NamedTuple):
    """A job that has failed, or was lost."""

    reason: str
    log: str
    again: bool
    """It says nothing about the job itself."""


def end_of(waiting: Waiting, state: str) -> End:
    """Why a job that ended in this state failed, in Slurm's own words where it has some."""
    record, failure, complaint = waiting.record, waiting.failure, slurm_complaint(waiting.record)
    slurms = f"Slurm: {state}" + (f" on {record.where}" if record.where else "")
    slurms += f" ({complaint})" if complaint is not None else ""
    if _MEMORY.search(slurms):
        given = f"{waiting.stage.memory_gb:g}" if waiting.stage.memory_gb else "Slurm's default"
        reason = f"{slurms}; raise memory_gb of stages.{record.rule} (now {given})"
        return End(reason, failure.log if failure else record.log, again=False)
    if failure is not None:
        return End(f"{failure.error}", failure.log, is_lost(state))
    log, words = last_words(record)
    again = waiting.found or is_lost(state) or not was_launched(complaint)
    return End(slurms if words is None else f"{slurms}: {words}", log, again)
