"""A workflow of a few small jobs on a pretended cluster: this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.small_experiment import hear_ctrl_c

SNAKEFILE = """
rule all:
    input: expand("results/toy/out/{number}.txt", number=config["numbers"])
    localrule: True
rule work:
    output: "results/toy/out/{number}.txt"
    log: "results/toy/logs/work/{number}.log"
    params: seconds=config["seconds"]
    shell: "python work.py {wildcards.number} {params.seconds} {output} > {log} 2>&1"
"""

WORK = """
import os, signal, sys, time
number, seconds, output = sys.argv[1:]
with open("begun.txt", "a") as stream:
    stream.write(number + "\\n")
print("process", os.environ.get("RANK", 0), "of", os.environ.get("WORLD_SIZE", 1), flush=True)
time.sleep(float(seconds))
while os.path.exists("held"):
    time.sleep(0.1)
if os.path.exists("killed-" + number):
    os.kill(os.getpid(), signal.SIGKILL)
if os.path.exists("silent-" + number):
    sys.exit(0)
if os.path.exists("broken-" + number):
    raise ValueError(f"number {number} is broken")
open(output, "w").write(number)
"""

STAGE = {"partition": "any", "memory_gb": 1, "hours": 1}


class Toy:
    """A folder with the workflow, and snakemake in it."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, **cluster: object
    ) -> None:
        self.folder = folder
        self.environment = environment or {}
        self.heads: list[subprocess.Popen[str]] = []
        (folder / "Snakefile").write_text(SNAKEFILE)
        (folder / "work.py").write_text(WORK)
        settings = {
            "backend": "local",
            "partitions": {"any": {}},
            "stages": {"work": STAGE},
            "poll_seconds": 0.5,
            "patience_seconds": 2,
            **cluster,
        }
        (folder / "cluster.yaml").write_text(yaml.safe_dump(settings))

    def start(self, numbers: list[int], seconds: float, *arguments: str) -> subprocess.Popen[str]:
        """Start a head."""
        command = [sys.executable, "-m", "snakemake", "all", "--executor", "submitit"]
        command += ["--submitit-settings", "cluster.yaml", "--jobs", "9", "--keep-going"]
        command += ["--nolock", "--rerun-incomplete", "--seconds-between-status-checks", "1"]
        command += [*arguments, "--config", f"numbers={json.dumps(numbers)}", f"seconds={seconds}"]
        head = subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
            env={
                **os.environ,
                "E2MC_CLUSTER": str(self.folder / "cluster.yaml"),
                **self.environment,
            },
        )
        self.heads.append(head)
        return head

    def end(self) -> None:
        """What a test that failed has left at work."""
        for head in self.heads:
            if head.poll() is None:
                kill_head(head)

    def run(self, numbers: list[int], seconds: float = 0, *arguments: str) -> tuple[int, str]:
        """Exit status and screen of a head that is left alone."""
        process = self.start(numbers, seconds, *arguments)
        screen, _ = process.communicate(timeout=300)
        return process.returncode, screen

    def begun(self) -> list[str]:
        """Every start of a job, in order."""
        file = self.folder / "begun.txt"
        return file.read_text().split() if file.exists() else []

    def wait_for_begun(self, count: int) -> None:
        """Until so many jobs have begun."""
        for _ in range(1200):
            if len(self.begun()) >= count:
                return
            time.sleep(0.1)
        raise AssertionError(f"only {self.begun()} began")

    def record(self, number: int) -> dict[str, object]:
        """The record of a job."""
        file = self.folder / f"results/toy/.runs/jobs/work/{number}/job.json"
        content = json.loads(file.read_text())
        assert isinstance(content, dict)
        return content

    def outputs(self) -> list[str]:
        """What is finished."""
        return sorted(file.stem for file in self.folder.glob("results/toy/out/*.txt"))


def kill_head(process: subprocess.Popen[str]) -> None:
    """kill -9 of snakemake alone: its jobs live on."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
