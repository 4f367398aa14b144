"""Processes of this machine in place of a cluster, through submitit's local executor."""

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import submitit

from e2mc.cluster.queues import Sighting
from e2mc.cluster.records import Record, identity
from e2mc.cluster.sbatch import COUNTED_BY_COMMAND
from e2mc.cluster.settings import Cluster, Stage
from e2mc.errors import E2MCError
from e2mc.files import read_json
from e2mc.gpus import visible_gpus


class LocalQueue:
    """submitit's controllers: a job's id is the number of its process."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def jobs(self) -> dict[str, Sighting]:
        """One look at all processes of this machine."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, E2MCError):
                words = process.cmdline()
                if "submitit.local._local" not in words:
                    continue
                folder = process.cwd()
                name = read_json(Path(folder, words[-1]).parent / "job.json")["name"]
                job_id, whose = str(process.pid), identity(folder, name)
                found[job_id] = Sighting(job_id, "RUNNING", whose, socket.gethostname())
        return found

    def histories(self, records: Iterable[Record]) -> dict[str, str]:
        """A process that is not there any more has ended without a result."""
        alive = self.jobs()
        ids = [record.job_id for record in records if record.job_id is not None]
        return {job_id: "RUNNING" if job_id in alive else "FAILED" for job_id in ids}

    def namesakes(self, records: Iterable[Record]) -> list[Sighting]:
        """There is no other witness."""
        return []

    def cancel(self, job_ids: Iterable[str]) -> None:
        """SIGTERM to the stages: they save what they can and end, and the job with them."""
        for job_id in job_ids:
            stages: list[psutil.Process] = []
            with suppress(psutil.Error):
                stages = psutil.Process(int(job_id)).children(recursive=True)
            for process in stages:
                with suppress(psutil.Error):
                    process.terminate()

    def submit(self, record: Record, stage: Stage, work: Callable[[], None]) -> str:
        """One process that starts and watches the job's own."""
        executor = submitit.LocalExecutor(record.submitit, COUNTED_BY_COMMAND)
        executor.update_parameters(
            timeout_min=stage.hours * 60,
            tasks_per_node=max(1, stage.gpus),
            signal_delay_s=self.cluster.warning_seconds,
        )
        if stage.gpus:
            # submitit would give every job the first ones: `Command` takes what is free of all
            gpus = visible_gpus()
            executor.parameters.update(gpus_per_node=len(gpus), visible_gpus=gpus)
        return str(executor.submit(work).job_id)
