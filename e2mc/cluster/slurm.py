"""Slurm, through squeue, sacct, scancel, and submitit's sbatch."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from e2mc.cluster import sbatch
from e2mc.cluster.queues import Sighting, is_alive
from e2mc.cluster.records import Record
from e2mc.cluster.settings import Cluster, Stage
from e2mc.errors import E2MCError

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "srun", "scontrol")

COMMAND_SECONDS = 60
QUESTION_SECONDS = 10
"""For a question whose asker is a person who waits for the answer."""

_NAMESAKE_DAYS = 31


class SlurmQueue:
    """One cluster.

    Raises:
        E2MCError: SLURM_CLUSTERS names several, whose jobs would have the same numbers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._where = [f"--clusters={cluster.cluster}"] if cluster.cluster else []
        if not self._where and "," in os.environ.get("SLURM_CLUSTERS", ""):
            raise E2MCError(
                "the environment variable SLURM_CLUSTERS names several clusters; name one, there "
                "or as `cluster` in the site's settings (docs/cluster.md)"
            )

    def jobs(self) -> dict[str, Sighting] | None:
        """One squeue, whatever the number of jobs.

        Free text stands last, where it can hold what it will; rows of another shape are skipped.
        """
        fields = "JobID:|,State:|,RestartCnt:|,NodeList:|,Reason:|,WorkDir:|,Name:|"
        # by number: squeue answers for an unknown name as for a user without jobs
        command = ["squeue", "--noheader", "--states=all", f"--user={os.getuid()}"]
        answer = ask([*command, *self._where, f"--Format={fields}"])
        if answer is None:
            return None
        found = {}
        for line in answer.splitlines():
            row = line.split("|", 5)
            if len(row) == 6 and row[2].isdecimal():
                job_id, state, restarts, where, reason, identity = row
                identity = identity.removesuffix("|")
                found[job_id] = Sighting(job_id, state, identity, where, int(restarts), reason)
        return found

    def histories(self, records: Iterable[Record]) -> dict[str, str] | None:
        """One sacct; a memory kill shows in a step's row only."""
        wanted = {record.job_id: record.identity for record in records if record.job_id}
        rows = self._accounting([f"--jobs={','.join(wanted)}"])
        if rows is None:
            return None
        states: dict[str, str] = {}
        for step, state, identity in rows:
            job_id = step.split(".")[0]
            if step == job_id and wanted.get(job_id) == identity:
                states[job_id] = state
            is_over = job_id in states and not is_alive(states[job_id])
            if is_over and state == "OUT_OF_MEMORY":
                states[job_id] = state
        return states

    def namesakes(self, records: Iterable[Record]) -> list[Sighting]:
        """One sacct; without an answer squeue's word has to do."""
        wanted = {record.identity: record.name for record in records}
        if not wanted:
            return []
        of_mine = [f"--uid={os.getuid()}", f"--name={','.join(wanted.values())}"]
        since = f"--starttime=now-{_NAMESAKE_DAYS}days"
        rows = self._accounting([*of_mine, since, "--allocations"]) or []
        return [
            Sighting(job_id, state, identity)
            for job_id, state, identity in rows
            if is_alive(state) and identity in wanted
        ]

    def cancel(self, job_ids: Iterable[str]) -> None:
        """One scancel; jobs that have ended meanwhile do not matter."""
        ask(["scancel", "--quiet", *self._where, *job_ids])

    def submit(self, record: Record, stage: Stage, work: Callable[[], None]) -> str:
        """One sbatch."""
        executor = sbatch.executor(self.cluster, stage, record.submitit)
        executor.update_parameters(job_name=record.name, comment=record.label)
        return str(executor.submit(work).job_id)

    def request(self, stage: Stage) -> str:
        """The script of a job of this stage; stages that ask for the same have the same."""
        executor = sbatch.executor(self.cluster, stage, Path(tempfile.gettempdir()))
        return str(executor._make_submission_file_text("true", "test"))

    def objection(self, request: str) -> str | None:
        """What Slurm would say against such a job; None: nothing. Submits nothing."""
        try:
            done = subprocess.run(
                ["sbatch", "--test-only"],
                input=request,
                capture_output=True,
                text=True,
                timeout=QUESTION_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return None if done.returncode == 0 else sbatch.complaint(done.stderr)

    def is_there(self) -> bool:
        """Whether the controller answers, within seconds."""
        return ask(["scontrol", *self._where, "ping"], QUESTION_SECONDS) is not None

    def accounting_is_there(self) -> bool:
        """Whether sacct works; without it Slurm tells less about how a job ended."""
        command = ["sacct", "--noheader", "--allocations", "--starttime=now", *self._where]
        return ask(command, QUESTION_SECONDS) is not None

    def _accounting(self, question: list[str]) -> list[tuple[str, str, str]] | None:
        """Rows of sacct: number, state, identity; None: no answer."""
        command = ["sacct", "--noheader", "--parsable2", *self._where, *question]
        answer = ask([*command, "--format=JobID,State,WorkDir,JobName"])
        if answer is None:
            return None
        rows = [line.split("|", 2) for line in answer.splitlines()]
        return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def ask(command: list[str], seconds: float = COMMAND_SECONDS) -> str | None:
    """A Slurm command's answer; None if it failed, which it does while a daemon is away."""
    # a user's own choice of columns and jobs (SQUEUE_PARTITION, SACCT_FORMAT) is for people
    theirs = ("SQUEUE_", "SACCT_", "SCANCEL_")
    environment = {name: it for name, it in os.environ.items() if not name.startswith(theirs)}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
