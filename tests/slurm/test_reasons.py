"""Why something does not run, or has failed, in Slurm's own words; and sites as they are."""

from pathlib import Path

import pytest

from tests.slurm import cluster
from tests.slurm.head import Head, record, submissions
from tests.slurm.test_survival import jobs, reason
from tests.slurm.toy import finished, toy, weights

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]


def test_what_keeps_jobs_from_running_is_told_once(tmp_path: Path) -> None:
    folder = toy(tmp_path / "toy", {"one": 100, "two": 5})
    cluster.run("scontrol", "update", "partitionname=gpu", "state=inactive")
    try:
        head = Head(folder, "all")
        head.until(lambda: "wait to be submitted: " in head.screen, "it says that it waits")
    finally:
        cluster.run("scontrol", "update", "partitionname=gpu", "state=up")
    head.running_node("train/one")
    job = str(record(folder, "train/one")["job_id"])
    cluster.run("scontrol", "requeuehold", job)
    head.until(lambda: f"job {job} waits: " in head.screen, "it says that the job is held")
    assert "scontrol release" in str(record(folder, "train/one")["reason"])
    cluster.run("scontrol", "release", job)
    screen = head.succeeds()
    assert screen.count("wait to be submitted: ") == 1
    assert screen.count("scontrol release") == 1
    assert finished(folder) == {"one": weights(100), "two": weights(5)}
    assert submissions(folder) == jobs("one", "two")


def test_an_environment_of_its_own_and_a_job_with_any_name(tmp_path: Path) -> None:
    named = ("--job-name=a|b|c", "--partition=cpu", "--output=/dev/null", "--wrap=sleep 30")
    other = cluster.run("sbatch", "--parsable", *named).strip()
    folder = toy(tmp_path / "toy", {"one": 5}, cluster="e2mc")
    try:
        wrong = {"USER": "nobody-knows", "LOGNAME": "nobody-knows", "RANK": "3"}
        Head(folder, "all", SBATCH_EXPORT="NONE", SLURM_CLUSTERS="e2mc", **wrong).succeeds()
    finally:
        cluster.run("scancel", other)
    assert finished(folder) == {"one": weights(5)}
    assert submissions(folder) == jobs("one")


def test_the_process_that_died_first_is_named(tmp_path: Path) -> None:
    folder = toy(tmp_path / "toy", {"loses_a_rank": 40}, gpus=2)
    head = Head(folder, "all")
    assert head.ends() == 1
    said = reason(head.screen, "loses_a_rank")
    assert "killed by signal 11: from step 0" in said
    assert "log: results/toy/logs/train/loses_a_rank.rank1.log" in said
    assert record(folder, "train/loses_a_rank")["state"] == "FAILED"
