"""A Snakemake executor: jobs go to Slurm through submitit, and are found again.

Snakemake calls `run_job` for every job that is ready and, in a thread of its own,
`check_active_jobs` every second. Nothing else runs per job, so hundreds of jobs cost the head a
look at their result files, and Slurm one squeue per interval.

A job's record (`e2mc.cluster.records`) outlives the head. When a new head wants a job that is
already recorded with the same command, parameters and inputs, it takes that one over, running or
ended; anything else that still runs under the job's name is cancelled first. A job that squeue does
not show is not gone: `e2mc.cluster.waiting` says when it is.
"""

import shutil
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import submitit
from snakemake_interface_common.exceptions import ApiError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from e2mc.cluster import backends, sbatch, wanted
from e2mc.cluster.command import Command
from e2mc.cluster.notes import Notes
from e2mc.cluster.queues import Sighting, is_alive
from e2mc.cluster.records import CANCELLED, DONE, FAILED, SETTLED, SUBMITTING, read_record
from e2mc.cluster.results import outcome
from e2mc.cluster.settings import load_cluster
from e2mc.cluster.waiting import Waiting, end_of
from e2mc.errors import E2MCError


class Executor(RemoteExecutor):
    """Submit or take over, wait, report."""

    def __post_init__(self) -> None:
        """Read the site's settings; refuse what would only fail after hours."""
        try:
            self.cluster = load_cluster(self.workflow.executor_settings.settings)
            wanted.check_stages(self.cluster, self.workflow)
            self.queue = backends.open_queue(self.cluster)
        except E2MCError as error:
            raise ApiError(str(error)) from None
        if self.workflow.deployment_settings.deployment_method:
            raise ApiError(
                "software deployment (--sdm) does not reach cluster jobs: activate the environment "
                "first and start snakemake without it"
            )
        backends.forget_own_job()
        self.jobs: dict[str, Sighting] | None = None
        self.histories: dict[str, str | None] = {}
        self.namesakes: list[Sighting] = []
        self.asked = float("-inf")
        self.silent = False
        self.identities: set[str] = set()
        self.refused: dict[str, str] = {}
        self.told_refusals: dict[str, str] = {}
        self.notes = Notes(self.logger, self.cluster.patience_seconds)
        self.stopping = False

    def run_job(self, job: Any) -> None:
        """Take the job over from an earlier head, or make it ready to be submitted."""
        stage = self.cluster.stages[job.rule.name]
        record = wanted.describe(job, stage)
        self.identities.add(record.identity)
        earlier, begun = read_record(record.log), record.folder.exists()
        if earlier is not None and wanted.is_useful(earlier, record, job):
            self.notes.say(earlier, f"found again as job {earlier.job_id}")
            waiting = Waiting(earlier, stage, found=True)
        else:
            self.workflow.async_run(job.prepare())
            record.write()
            waiting = Waiting(record, stage, cautious=begun)
        info = SubmittedJobInfo(job, waiting.record.job_id, aux={"waiting": waiting})
        self.report_job_submission(info)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """One look at all jobs; those that go on are given back."""
        if not active_jobs:  # Snakemake looks already before `__post_init__`
            return
        fresh = self._look()
        if fresh:
            self._ask_accounting([info.aux["waiting"] for info in active_jobs if info.aux])
        for info in active_jobs:
            if not self._settled(info, fresh):
                yield info
        self.notes.tell()

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
        seen = self.jobs or {}
        # a queue that does not show a job does not say that it has ended
        unseen = {str(record.job_id) for record in records} - set(seen)
        ids = sorted(unseen | {job.job_id for job in self._alive(self.identities)}, key=int)
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
            record.state, record.reason = DONE, None
            record.write()
            shutil.rmtree(record.submitit, ignore_errors=True)

    def handle_job_error(self, job: Any) -> None:
        """It may be Snakemake that finds fault with what a job has left."""
        record = read_record(wanted.log_of(job))
        if record is not None and record.state not in SETTLED:
            record.state, record.reason = FAILED, "its outputs were not accepted"
            record.write()

    def print_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **_: Any) -> None:
        """One line instead of Snakemake's description of the rule."""
        self.logger.error(msg)

    def _look(self) -> bool:
        """Ask the queue if it is time; whether there is an answer."""
        if time.monotonic() - self.asked < self.cluster.poll_seconds:
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
        self.refused.clear()
        return True

    def _ask_accounting(self, waiting: list[Waiting]) -> None:
        """Of the jobs that the queue does not show, or may not show yet."""
        patience = self.cluster.patience_seconds
        gone = [one.record for one in waiting if one.failure or one.gone_for() > patience]
        answer = self.queue.histories(gone) if gone else None
        self.histories = {str(one.job_id): (answer or {}).get(str(one.job_id)) for one in gone}
        careful = [one.record for one in waiting if one.cautious]
        careful = [record for record in careful if record.state == SUBMITTING]
        self.namesakes = self.queue.namesakes(careful) if careful else []

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
        if waiting.failure is None:
            result = outcome(record)
            if result is not None and result.error is None:
                return self._succeeded(info, waiting)
            if result is not None and not (result.killed or record.tasks > 1):
                return self._fail(info, waiting, f"{result.error}", result.log)
            if result is not None:
                waiting.failure, waiting.gone_since = result, time.monotonic()
        return fresh and self._without_result(info, waiting)

    def _without_result(self, info: SubmittedJobInfo, waiting: Waiting) -> bool:
        """Whether it has ended, as far as Slurm knows."""
        assert self.jobs is not None
        record, patience = waiting.record, self.cluster.patience_seconds
        sighting = self.jobs.get(record.job_id or "")
        if waiting.failure is not None:
            state = self.histories.get(record.job_id or "") or "RUNNING"
            if is_alive(state):  # or accounting does not know yet
                state = "FAILED" if waiting.gone_for() > patience else ""
            return bool(state) and self._ended(info, waiting, state)
        if waiting.see(sighting):
            assert sighting is not None
            self.notes.see(waiting, sighting)
            return False
        if record.job_id not in self.histories:
            return False
        history = self.histories[record.job_id]
        state = waiting.ended_as(history, patience) or ""
        if not state:
            self.notes.wait(waiting, waiting.doubt(history, patience))
        return bool(state) and self._ended(info, waiting, state)

    def _ended(self, info: SubmittedJobInfo, waiting: Waiting, state: str) -> bool:
        """Without its outputs: submit it again, or give it up."""
        record, end = waiting.record, end_of(waiting, state)
        if not end.again or record.resubmissions >= self.cluster.resubmissions:
            return self._fail(info, waiting, end.reason, end.log)
        self.notes.say(record, f"job {record.job_id} is gone, submitting again. {end.reason}")
        record.resubmissions += 1
        record.state, record.reason = SUBMITTING, end.reason
        record.write()
        info.aux = {"waiting": Waiting(record, waiting.stage, cautious=True)}
        return False

    def _submit(self, info: SubmittedJobInfo, waiting: Waiting) -> bool:
        """Submit, once nothing else runs under this name. Whether it was refused for good."""
        record, place = waiting.record, waiting.stage.partition
        if place in self.refused:
            self.notes.keep(record, self.refused[place])
            return False
        # out of date, or submitted by a head that died at once
        others = {job.job_id for job in self._alive({record.identity})}
        if others:
            self.queue.cancel(sorted(others))
            self.notes.keep(record, f"job {', '.join(sorted(others))} of its name must end first")
            waiting.cautious = True
            return False
        limit, warning = waiting.stage.hours * 3600, self.cluster.warning_seconds
        here, timeouts = str(Path.cwd()), waiting.stage.timeouts
        work = Command(record.command, here, record.log, limit, warning, timeouts)
        try:
            job_id = self.queue.submit(record, waiting.stage, work)
        except (
            submitit.core.utils.FailedJobError,
            submitit.core.utils.FailedSubmissionError,
            OSError,
        ) as error:
            return self._refused(info, waiting, error)
        record.job_id, record.state, record.reason = job_id, "PENDING", None
        record.submitted = time.time()
        record.write()
        info.external_jobid = job_id
        self.notes.say(record, f"submitted as job {job_id}")
        return False

    def _refused(self, info: SubmittedJobInfo, waiting: Waiting, error: Exception) -> bool:
        """Now, or for good."""
        # killed by Ctrl-C, which reaches it too, sbatch says nothing
        complaint = sbatch.complaint(str(error)) or "sbatch was interrupted"
        later = isinstance(error, OSError) or not str(error).strip() or sbatch.is_busy(complaint)
        if not (later or self.stopping):
            return self._fail(info, waiting, f"not accepted: {complaint}", waiting.record.log)
        place = waiting.stage.partition
        # what one job is refused for now, all are: no further sbatch before the next look
        self.refused[place] = complaint
        if self.told_refusals.get(place) != complaint:
            self.told_refusals[place] = complaint
            self.logger.info(f"Jobs for partition {place} wait to be submitted: {complaint}")
        self.notes.keep(waiting.record, complaint)
        waiting.cautious = True
        return False

    def _alive(self, identities: set[str]) -> list[Sighting]:
        """Jobs of these names and folders that wait or run, as squeue or sacct knows."""
        seen = [job for job in (self.jobs or {}).values() if is_alive(job.state)]
        return [job for job in (*seen, *self.namesakes) if job.identity in identities]

    def _succeeded(self, info: SubmittedJobInfo, waiting: Waiting) -> bool:
        """Its outputs may show late on this machine; others are not kept waiting for them."""
        missing = [file for file in info.job.output if not Path(file).exists()]
        if missing:
            now = time.monotonic()
            waiting.unfinished_since = waiting.unfinished_since or now
            if now - waiting.unfinished_since < self.workflow.execution_settings.latency_wait:
                return False
            reason = f"it ended without an error, but {missing[0]} is not there"
            return self._fail(info, waiting, reason, waiting.record.log)
        self.notes.say(waiting.record, f"job {waiting.record.job_id} is done")
        self.report_job_success(info)
        return True

    def _fail(self, info: SubmittedJobInfo, waiting: Waiting, reason: str, log: str) -> bool:
        record = waiting.record
        record.state, record.reason = FAILED, reason
        record.write()
        job = f"job {record.job_id}, " if record.job_id else ""
        self.report_job_error(info, msg=f"{record.label} failed: {reason} [{job}log: {log}]")
        return True
