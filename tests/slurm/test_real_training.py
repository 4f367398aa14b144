"""The demo's own stages on the test cluster: mishaps leave no trace in the results."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm import cluster
from tests.slurm.head import Head, record, restarts, submissions

pytestmark = [pytest.mark.cluster]

DEMO = ("--configfile", "config/demo.yaml")
BASE = "scratch/swav-30.pth"
MODEL = "pretrain/swav-30/e2mc/trial0/model.safetensors"


def run_here(folder: Path, target: str) -> None:
    """Without a cluster and undisturbed, in as many threads as on it."""
    command = [sys.executable, "-m", "snakemake", target, "--cores", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def sha256(folder: Path, file: str) -> str:
    return hashlib.sha256((folder / "results/demo" / file).read_bytes()).hexdigest()


def some_steps(folder: Path, run: str) -> bool:
    """Whether the training has done its first steps."""
    progress = folder / "results/demo/.runs" / run / "progress.json"
    return progress.exists() and json.loads(progress.read_text())["step"] > 0


def test_disturbed_everywhere_the_weights_are_the_same(local: Path, checkout: Path) -> None:
    target = f"results/demo/{MODEL}"
    run_here(local, target)
    first = Head(checkout, target, *DEMO)

    first.until(lambda: some_steps(checkout, "scratch/swav-30"), "the base model is trained")
    cluster.preempt(first.running_node("scratch/swav-30"))
    first.until(lambda: restarts(checkout, "scratch/swav-30") >= 1, "it was preempted")
    second = Head(checkout, target, *DEMO)
    assert second.ends() != 0
    assert "another snakemake" in second.screen

    run = "pretrain/swav-30/e2mc/trial0"
    first.until(lambda: some_steps(checkout, run), "it is trained further")
    first.kill()
    job = str(record(checkout, "pretrain/swav-30-e2mc-trial0")["job_id"])
    cluster.run("scancel", "--signal=USR2", job)  # as at the end of its time

    Head(checkout, target, *DEMO).succeeds()
    assert cluster.job(job).restarts == 1
    assert sha256(checkout, BASE) == sha256(local, BASE)
    assert sha256(checkout, MODEL) == sha256(local, MODEL)
    assert set(submissions(checkout).values()) == {1}
