"""A Snakemake executor: jobs go to Slurm through submitit, and are found again.

Snakemake calls `run_job` for every job that is ready and, in a thread of its own,
`check_active_jobs` every second. Nothing else runs per job, so hundreds of jobs cost the head a
look at their result files, and Slurm one squeue per interval.

A job's record (`e2mc.cluster.records`) outlives the head. When a new head wants a job that is
already recorded with the same command, parameters and inputs, it takes that one over, running or
ended; anything else that still runs under the job's name is cancelled first.
"""

import os
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from e2mc.cluster import wanted
from e2mc.cluster.command import Command
from e2mc.cluster.queues import ALIVE, LOST, Sighting, is_busy, open_queue
from e2mc.cluster.records import CANCELLED, DONE, FAILED, SUBMITTING, Record, read_record
from e2mc.cluster.results import outcome, slurm_complaint, was_launched
from e2mc.cluster.settings import Stage, load_cluster
from e2mc.errors import E2MCError


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
    """When it was first seen to have ended without a result."""
    end: str | None = None
    """The state it was in then."""


class Executor(RemoteExecutor):
    """Submit or take over, wait, report."""

    def __post_init__(self) -> None:
        """Read the site's settings; refuse what would only fail after hours."""
        try:
            self.cluster = load_cluster(self.workflow.executor_settings.settings)
            wanted.check_stages(self.cluster, self.workflow)
        except E2MCError as error:
            raise WorkflowError(str(error)) from None
        if self.workflow.deployment_settings.deployment_method:
            raise WorkflowError(
                "software deployment (--sdm) does not reach cluster jobs: activate the environment "
                "first and start snakemake without it"
            )
        # the head may itself be a job: its own place must not become that of its jobs
        for name in [name for name in os.environ if name.startswith("SLURM_")]:
            if name != "SLURM_CONF":
                del os.environ[name]
        self.queue = open_queue(self.cluster)
        self.jobs: dict[str, Sighting] | None = None
        self.ends: dict[str, str | None] = {}
        self.asked = float("-inf")
        self.silent = False
        self.names: set[str] = set()
        self.stopping = False

    def run_job(self, job: Any) -> None:
        """Take the job over from an earlier head, or make it ready to be submitted."""
        stage = self.cluster.stages[job.rule.name]
        record = wanted.describe(job, stage)
        self.names.add(record.name)
        earlier = read_record(record.log)
        if earlier is not None and wanted.is_useful(earlier, record, job):
            self._say(earlier, f"found again as job {earlier.job_id}")
            waiting = Waiting(earlier, stage, found=True)
        else:
            self.workflow.async_run(job.prepare())
            record.write()
            waiting = Waiting(record, stage, cautious=earlier is not None)
        info = SubmittedJobInfo(job, waiting.record.job_id, aux={"waiting": waiting})
        self.report_job_submission(info)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """One look at all jobs; those that go on are given back."""
        fresh = self._look(active_jobs)
        if fresh:
            self._ask_for_ends([info.aux["waiting"] for info in active_jobs if info.aux])
        for info in active_jobs:
            if not self._settled(info, fresh):
                yield info

    def cancel(self) -> None:
        """Ctrl-C. Snakemake's own way would forget the jobs that are being looked at just then."""
        self.stopping = True
        self.shutdown()
        self.cancel_jobs(list(self.active_jobs))

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Ask for the end of this head's jobs; states stay on disk."""
        records = [info.aux["waiting"].record for info in active_jobs if info.aux]
        records = [record for record in records if record.state != SUBMITTING]
        self.jobs = self.queue.jobs()
        if self.jobs is None:
            ids = [str(record.job_id) for record in records]
        else:
            ids = sorted((job.job_id for job in self._alive(self.names)), key=int)
        if not ids:
            return
        listed = ", ".join(ids)
        if self.jobs is None:
            self.logger.info(
                f"Slurm does not answer: {len(ids)} jobs go on ({listed}). The next start finds "
                f"them; to end them: scancel {' '.join(ids)}"
            )
            return
        self.logger.info(f"Cancelling {len(ids)} jobs ({listed}).")
        self.queue.cancel(ids)
        for record in records:
            record.state, record.reason = CANCELLED, "cancelled by Ctrl-C"
            record.write()
        self.logger.info("Run the same command again to resume.")

    def handle_job_success(self, job: Any) -> None:
        """Snakemake has recorded the outputs: nobody needs to find this job again."""
        record = read_record(wanted.log_of(job))
        if record is not None:
            record.state = DONE
            record.write()

    def print_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **_: Any) -> None:
        """One line instead of Snakemake's description of the rule."""
        self.logger.error(msg)

    def _look(self, active_jobs: list[SubmittedJobInfo]) -> bool:
        """Ask the queue if it is time; whether there is an answer."""
        if not active_jobs or time.monotonic() - self.asked < self.cluster.poll_seconds:
            return False
        self.jobs = self.queue.jobs()
        self.asked = time.monotonic()
        if self.jobs is None:
            if not self.silent:
                self.silent = True
                self.logger.info("Slurm does not answer; waiting until it does.")
            return False
        if self.silent:
            self.logger.info("Slurm answers again.")
            self.silent = False
        return True

    def _settled(self, info: SubmittedJobInfo, fresh: bool) -> bool:
        """Go on with one job as far as is possible now; whether it has come to its end."""
        if self.stopping:
            return False
        assert info.aux is not None
        waiting: Waiting = info.aux["waiting"]
        record = waiting.record
        if record.state == SUBMITTING:
            ready = self.jobs is not None and (fresh or not waiting.cautious)
            return ready and self._submit(info, waiting)
        result = outcome(record)
        if result is not None:
            return self._ended(info, waiting, result.error)
        if not fresh:
            return False
        assert self.jobs is not None
        sighting = self.jobs.get(record.job_id or "")
        if sighting is not None and sighting.state in ALIVE:
            waiting.gone_since = None
            self._note(record, sighting)
            return False
        return self._without_result(info, waiting, sighting)

    def _submit(self, info: SubmittedJobInfo, waiting: Waiting) -> bool:
        """Submit, once nothing else runs under this name. Whether it was refused."""
        record = waiting.record
        # out of date, or submitted by a head that died at once
        others = [job.job_id for job in self._alive({record.name})]
        if others:
            self.queue.cancel(others)
            waiting.cautious = True
            return False
        # Slurm takes up to the warning to let a job save its state, and a breath to queue it again
        saving = max(1.0, self.cluster.warning_seconds * 0.8)
        work = Command(record.command, str(Path.cwd()), record.log, saving)
        try:
            job_id = self.queue.submit(record, waiting.stage, work)
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as e:
            # killed by Ctrl-C, which reaches it too, sbatch says nothing
            complaint = (str(e).strip() or "sbatch was interrupted").splitlines()[-1]
            if self.stopping or not str(e).strip() or is_busy(str(e)):
                self._note_reason(record, complaint)
                waiting.cautious = True
                return False
            return self._fail(info, waiting, f"not accepted: {complaint}")
        record.job_id, record.state, record.reason = job_id, "PENDING", None
        record.submitted = time.time()
        record.write()
        info.external_jobid = job_id
        self._say(record, f"submitted as job {job_id}")
        return False

    def _alive(self, names: set[str]) -> list[Sighting]:
        """Jobs with one of these names, from this folder, that wait or run."""
        folder = str(Path.cwd())
        return [
            job
            for job in (self.jobs or {}).values()
            if job.state in ALIVE and job.name in names and job.folder == folder
        ]

    def _without_result(
        self, info: SubmittedJobInfo, waiting: Waiting, sighting: Sighting | None
    ) -> bool:
        """It is not in the queue any more; its result may be on the way."""
        if waiting.gone_since is None:
            waiting.gone_since = time.monotonic()
            waiting.end = sighting.state if sighting else None
        record = waiting.record
        if record.job_id not in self.ends:
            return False
        state = self.ends[record.job_id] or waiting.end or "GONE"
        if state.split()[0] in ALIVE:  # accounting lags behind
            state = waiting.end or "GONE"
        where = f" on {record.where}" if record.where else ""
        reason = f"Slurm: {state}{where}"
        complaint = slurm_complaint(record)
        if complaint is not None:
            reason += f" ({complaint})"
        again = waiting.found or state.split()[0] in LOST or not was_launched(complaint)
        if again and record.resubmissions < self.cluster.resubmissions:
            self._say(record, f"job {record.job_id} is gone, submitting again. {reason}")
            record.resubmissions += 1
            record.state, record.reason = SUBMITTING, reason
            waiting.gone_since, waiting.found, waiting.cautious = None, False, True
            record.write()
            return False
        return self._fail(info, waiting, reason)

    def _ask_for_ends(self, waiting: list[Waiting]) -> None:
        """How the jobs ended that have been gone for so long that no result will come."""
        latest = time.monotonic() - self.cluster.patience_seconds
        gone = [one for one in waiting if one.gone_since is not None and one.gone_since < latest]
        ids = [one.record.job_id for one in gone if one.record.job_id is not None]
        answer = self.queue.ends(ids) if ids else None
        self.ends = {job_id: (answer or {}).get(job_id) for job_id in ids}

    def _ended(self, info: SubmittedJobInfo, waiting: Waiting, error: str | None) -> bool:
        if error is not None:
            return self._fail(info, waiting, error)
        self._say(waiting.record, f"job {waiting.record.job_id} is done")
        self.report_job_success(info)
        return True

    def _fail(self, info: SubmittedJobInfo, waiting: Waiting, reason: str) -> bool:
        record = waiting.record
        record.state, record.reason = FAILED, reason
        record.write()
        job = f"job {record.job_id}, " if record.job_id else ""
        self.report_job_error(info, msg=f"{record.label} failed: {reason} [{job}log: {record.log}]")
        return True

    def _note(self, record: Record, sighting: Sighting) -> None:
        """Keep the record as fresh as a reader of it needs, and say what has changed."""
        if sighting.restarts > record.restarts:
            self._say(record, f"job {record.job_id} was queued again by Slurm")
        elif sighting.state != record.state and sighting.state == "RUNNING":
            self._say(record, f"job {record.job_id} runs on {sighting.where}")
        changed = (record.state, record.restarts) != (sighting.state, sighting.restarts)
        if changed or time.time() - record.seen > 60:
            record.state, record.restarts = sighting.state, sighting.restarts
            record.where = sighting.where or record.where
            record.write()

    def _note_reason(self, record: Record, reason: str) -> None:
        if record.reason != reason:
            record.reason = reason
            record.write()
            self._say(record, f"waits to be submitted: {reason}")

    def _say(self, record: Record, text: str) -> None:
        self.logger.info(f"{record.label}: {text}")
