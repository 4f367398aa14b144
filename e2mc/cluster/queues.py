"""What a place to run jobs is asked, whichever it is: Slurm, or this machine."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from e2mc.cluster.records import Record
from e2mc.cluster.settings import Stage

_ALIVE = {
    *("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_FED"),
    *("REQUEUE_HOLD", "SPECIAL_EXIT", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"),
}
GONE = "GONE"
"""Our own word for a job that nobody knows any more."""
_LOST = {"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", GONE}


def is_alive(state: str) -> bool:
    """Whether a job in this state, in Slurm's words (`CANCELLED by 1000`), has not ended."""
    return state.split()[0] in _ALIVE


def is_lost(state: str) -> bool:
    """Whether this end says nothing about the job itself: it may be submitted again."""
    return state.split()[0] in _LOST


class Sighting(NamedTuple):
    """A job as the queue shows it."""

    job_id: str
    state: str
    identity: str
    """As `Record.identity`: numbers are given out again."""
    where: str = ""
    restarts: int = 0
    reason: str | None = None
    """Why it waits."""


class Queue(Protocol):
    """Where jobs run."""

    def jobs(self) -> dict[str, Sighting] | None:
        """All jobs of this user by id; None: no answer, ask again later."""

    def histories(self, records: Iterable[Record]) -> dict[str, str] | None:
        """States by id of these jobs, of those that are remembered, ended or not; None: no answer.

        This is another witness than `jobs`, slower and longer of memory.
        """

    def namesakes(self, records: Iterable[Record]) -> list[Sighting]:
        """Jobs of the same names from the same folders that this other witness calls alive."""

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Ask for an end of these jobs."""

    def submit(self, record: Record, stage: Stage, work: Callable[[], None]) -> str:
        """Submit a job and return its id."""
