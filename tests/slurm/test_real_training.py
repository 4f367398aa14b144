"""The demo's own stages on the test cluster: mishaps leave no trace in the results."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm import cluster
from tests.slurm.head import Head, record, restarts, submissions
from tests.small_experiment import shown

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


def change(folder: Path, file: str, edit: Callable[[dict[str, Any]], None]) -> None:
    content = yaml.safe_load((folder / file).read_text())
    edit(content)
    (folder / file).write_text(yaml.safe_dump(content, sort_keys=False))


def test_disturbed_everywhere_the_weights_are_the_same(local: Path, checkout: Path) -> None:
    target = f"results/demo/{MODEL}"
    run_here(local, target)
    first = Head(checkout, target, *DEMO)

    first.until(lambda: some_steps(checkout, "scratch/swav-30"), "the base model is trained")
    second = Head(checkout, target, *DEMO)
    assert second.ends() != 0
    assert "another snakemake" in second.screen
    cluster.preempt(first.running_node("scratch/swav-30"))

    run = "pretrain/swav-30/e2mc/trial0"
    first.until(lambda: some_steps(checkout, run), "it is trained further")
    assert restarts(checkout, "scratch/swav-30") >= 1
    first.kill()
    job = str(record(checkout, "pretrain/swav-30-e2mc-trial0")["job_id"])
    cluster.run("scancel", "--signal=USR2", job)  # as at the end of its time

    Head(checkout, target, *DEMO).succeeds()
    assert cluster.job(job).restarts == 1
    assert sha256(checkout, BASE) == sha256(local, BASE)
    assert sha256(checkout, MODEL) == sha256(local, MODEL)
    assert set(submissions(checkout).values()) == {1}


@pytest.mark.slow
def test_the_whole_demo_disturbed_everywhere_has_the_same_tables(
    local: Path, checkout: Path
) -> None:
    def longer(experiment: dict[str, Any]) -> None:
        experiment["methods"]["swav"]["continued"]["epochs"] = 40

    def one_minute(site: dict[str, Any]) -> None:
        site["stages"]["pretrain"] |= {"hours": 1 / 60, "timeouts": 9}
        site["warning_seconds"] = 30

    for folder in (local, checkout):
        change(folder, "config/demo.yaml", longer)
    change(checkout, "site.yaml", one_minute)
    run_here(local, "all")

    first = Head(checkout, "all", *DEMO)
    first.until(lambda: some_steps(checkout, "scratch/swav-30"), "the base model is trained")
    cluster.preempt(first.running_node("scratch/swav-30"))
    run = "pretrain/swav-30/e2mc/trial0"
    first.until(lambda: some_steps(checkout, run), "it is trained further")
    cluster.preempt(first.running_node("pretrain/swav-30-e2mc-trial0"))
    lost = first.running_node("linear/swav-30-e2mc-trial0")
    cluster.kill_node(lost)
    first.kill()
    try:
        Head(checkout, "all", *DEMO).succeeds(600)
    finally:
        cluster.revive_node(lost)
    assert restarts(checkout, "scratch/swav-30") >= 1
    assert restarts(checkout, "pretrain/swav-30-e2mc-trial0") >= 2, "preempted and out of time"
    assert restarts(checkout, "linear/swav-30-e2mc-trial0") == 1, "its node died"
    assert shown(checkout) == shown(local)
    assert len(shown(local)) > 8
    assert set(submissions(checkout).values()) == {1}


@pytest.mark.slow
def test_two_nodes_preempted_train_as_two_processes_of_this_machine(
    local: Path, checkout: Path
) -> None:
    def two_nodes(site: dict[str, Any]) -> None:
        site["stages"]["pretrain"] |= {"nodes": 2}

    def two_processes(site: dict[str, Any]) -> None:
        site["stages"]["pretrain"] |= {"nodes": 1, "gpus": 2}
        site["backend"] = "local"

    target = f"results/demo/{MODEL}"
    change(checkout, "site.yaml", two_nodes)
    (local / "site.yaml").write_text((checkout / "site.yaml").read_text())
    change(local, "site.yaml", two_processes)
    Head(local, target, *DEMO).succeeds()
    head = Head(checkout, target, *DEMO)
    run = "pretrain/swav-30/e2mc/trial0"
    head.until(lambda: some_steps(checkout, run), "it is trained on two nodes")
    assert head.running_node("pretrain/swav-30-e2mc-trial0") == "g[1-2]"
    cluster.preempt("g1")
    head.succeeds()
    assert restarts(checkout, "pretrain/swav-30-e2mc-trial0") >= 1
    assert sha256(checkout, MODEL) == sha256(local, MODEL)
