"""`snakemake --profile slurm` on the test cluster: started, watched, interrupted, killed."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.slurm import cluster
from tests.small_experiment import hear_ctrl_c

Found = TypeVar("Found")

SITE = {
    "partitions": {"gpu": {"partition": "gpu"}, "cpu": {"partition": "cpu"}},
    "warning_seconds": 30,
    "poll_seconds": 1,
    "patience_seconds": 5,
}
"""What the test cluster is like; also its answers come quicker than a site's should."""


def write_site(folder: Path, stages: Mapping[str, Mapping[str, object]], **others: object) -> None:
    """The site's own file, which every head of this folder is pointed to."""
    settings = {**SITE, **others, "stages": stages}
    (folder / "site.yaml").write_text(yaml.safe_dump(settings))


def change(folder: Path, file: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit a YAML file of this folder."""
    content = yaml.safe_load((folder / file).read_text())
    edit(content)
    (folder / file).write_text(yaml.safe_dump(content, sort_keys=False))


class Head:
    """One start of snakemake, in a process group of its own like a command typed in a shell."""

    def __init__(
        self, folder: Path, *arguments: str, profile: str = "slurm", **environment: str
    ) -> None:
        self.folder = folder
        self.said = folder / f"screen{len(list(folder.glob('screen*')))}.txt"
        with self.said.open("w") as screen:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--profile", profile, *arguments],
                cwd=folder,
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=hear_ctrl_c,
                env={
                    **os.environ,
                    "E2MC_CLUSTER": str(folder / "site.yaml"),
                    "OMP_NUM_THREADS": "1",
                    **environment,
                },
            )

    @property
    def screen(self) -> str:
        return self.said.read_text()

    def until(self, predicate: Callable[[], Found], what: str, timeout: float = 400) -> Found:
        """Waits for something that happens while this head lives; returns the true answer."""

        def answer() -> Found:
            assert self.process.poll() is None, self.screen
            return predicate()

        try:
            return cluster.wait_until(answer, timeout, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.screen}") from None

    def running_node(self, job: str) -> str:
        """Waits until a job runs, and the head knows it; returns its node."""
        self.until(lambda: record(self.folder, job).get("state") == "RUNNING", f"{job} runs")
        return str(record(self.folder, job)["where"])

    def interrupt(self) -> None:
        """Ctrl-C: a terminal sends SIGINT to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """kill -9, its local jobs with it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ends(self, timeout: float = 300) -> int:
        """Waits for its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not over within {timeout:g} s:\n{self.screen}") from None

    def succeeds(self, timeout: float = 300) -> str:
        """Waits for success; returns the screen."""
        assert self.ends(timeout) == 0, self.screen
        return self.screen


def record(folder: Path, job: str) -> dict[str, Any]:
    """What the head has written down about a job, `train/left` say; empty: nothing yet."""
    for file in folder.glob(f"results/*/.runs/jobs/{job}/job.json"):
        content = json.loads(file.read_text())
        assert isinstance(content, dict)
        return content
    return {}


def submissions(folder: Path) -> Counter[str]:
    """How many jobs of each name were ever submitted from this folder; a requeue is none."""
    asked = ["--noheader", "--parsable2", "--allocations", "--starttime=now-2hours"]
    rows = cluster.run("sacct", *asked, "--format=JobID,WorkDir,JobName").splitlines()
    found = [row.split("|", 2) for row in rows]
    names = {id: name for id, where, name in found if Path(where) == folder.resolve()}
    names |= {job.id: job.name for job in cluster.squeue(folder)}  # accounting lags behind
    return Counter(names.values())


def restarts(folder: Path, job: str) -> int:
    """How often Slurm has started the job again."""
    return cluster.job(str(record(folder, job)["job_id"])).restarts


def alive(folder: Path) -> list[cluster.Job]:
    """Jobs from this folder that wait or run."""
    states = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
    return [job for job in cluster.squeue(folder) if job.state in states]
