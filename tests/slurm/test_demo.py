"""The whole demo on the test cluster with everything in its way: the tables of an undisturbed run.

Ten minutes on two cores for the small experiment, half an hour for the demo as users run it; most
of it is the undisturbed run and the disturbed one themselves.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import small_experiment
from tests.slurm import cluster
from tests.slurm.head import Head, change, record, restarts, submissions
from tests.slurm.test_real_training import DEMO, run_here, some_steps

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ALL = ("all", "--jobs", "4", *DEMO)


def some_running(folder: Path, stage: str) -> str | None:
    """A job of this stage that runs at this moment, `pretrain/swav-30-e2mc-trial0` say."""
    for file in sorted((folder / "results/demo/.runs/jobs" / stage).glob("*/job.json")):
        if json.loads(file.read_text())["state"] == "RUNNING":
            return f"{stage}/{file.parent.name}"
    return None


def test_the_small_experiment_survives_everything(local: Path, checkout: Path) -> None:
    def longer(experiment: dict[str, Any]) -> None:
        experiment["methods"]["swav"]["continued"]["epochs"] = 40

    def one_minute(site: dict[str, Any]) -> None:
        site["stages"]["pretrain"] |= {"hours": 1 / 60, "timeouts": 9}
        site["warning_seconds"] = 30

    for folder in (local, checkout):
        change(folder, "config/demo.yaml", longer)
    change(checkout, "site.yaml", one_minute)
    run_here(local, "all")

    first = Head(checkout, *ALL)
    first.until(lambda: some_steps(checkout, "scratch/swav-30"), "the base model is trained")
    cluster.preempt(first.running_node("scratch/swav-30"))
    run = "pretrain/swav-30/e2mc/trial0"
    first.until(lambda: some_steps(checkout, run), "it is trained further")
    cluster.preempt(first.running_node("pretrain/swav-30-e2mc-trial0"))
    lost = first.running_node("linear/swav-30-e2mc-trial0")
    cluster.kill_node(lost)
    first.kill()
    try:
        Head(checkout, *ALL).succeeds(600)
    finally:
        cluster.revive_node(lost)
    assert restarts(checkout, "scratch/swav-30") >= 1
    assert restarts(checkout, "pretrain/swav-30-e2mc-trial0") >= 2, "preempted and out of time"
    assert restarts(checkout, "linear/swav-30-e2mc-trial0") == 1, "its node died"
    expected = small_experiment.shown(local)
    assert len(expected) > 8
    assert not small_experiment.differences(small_experiment.shown(checkout), expected)
    assert set(submissions(checkout).values()) == {1}


def test_the_demo_survives_everything(tmp_path: Path, checkout: Path) -> None:
    shutil.copy(small_experiment.ROOT / "config/demo.yaml", checkout / "config")
    undisturbed = small_experiment.checkout(tmp_path / "undisturbed")
    run_here(undisturbed, "all")

    def running(stage: str) -> str:
        return head.until(lambda: some_running(checkout, stage), f"a job of {stage} runs", 600)

    head = Head(checkout, *ALL)
    preempted = [running("scratch")]
    cluster.preempt(head.running_node(preempted[0]))
    preempted.append(running("pretrain"))
    cluster.preempt(head.running_node(preempted[1]))

    out_of_time = str(record(checkout, running("pretrain"))["job_id"])
    cluster.run("scancel", "--signal=USR2", out_of_time)

    node = head.running_node(running("extract_imagenet"))
    cluster.kill_node(node, noticed=True)
    running("linear")
    head.kill()
    cluster.revive_node(node)

    screen = Head(checkout, *ALL).succeeds(3600)
    assert "found again as job" in screen
    assert max(submissions(checkout).values()) <= 2
    expected = small_experiment.shown(undisturbed)
    assert len(expected) > 20
    assert not small_experiment.differences(small_experiment.shown(checkout), expected)
