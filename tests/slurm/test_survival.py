"""What a user of a cluster must not have to care about, each mishap on the test cluster.

The trainings are toys that behave as the real ones do (tests/slurm/toy.py), so that minutes are
enough; test_real_training.py repeats the chief scenarios with the weights of real ones.
"""

import subprocess
import time
from pathlib import Path

import pytest

from tests.slurm import cluster
from tests.slurm.head import Head, alive, record, restarts, submissions
from tests.slurm.toy import begun, finished, toy, weights

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]


def jobs(*names: str, times: int = 1) -> dict[str, int]:
    """Trainings, each with its evaluation, as `submissions` counts them."""
    return {f"toy/{stage}/{name}": times for stage in ("train", "evaluate") for name in names}


def log(folder: Path, name: str) -> str:
    return (folder / f"results/toy/logs/train/{name}.log").read_text()


def test_preempted_or_requeued_a_training_goes_on_by_itself(tmp_path: Path) -> None:
    trainings = {"preempted": 200, "requeued": 200, "requeued_twice_at_once": 200}
    folder = toy(tmp_path / "toy", trainings)
    head = Head(folder, "all")
    head.until(lambda: begun(folder, *trainings), "all have done some steps")
    cluster.preempt(head.running_node("train/preempted"))
    cluster.run("scontrol", "requeue", str(record(folder, "train/requeued")["job_id"]))
    warned = str(record(folder, "train/requeued_twice_at_once")["job_id"])
    cluster.run("scancel", "--signal=USR2", warned)  # upon which it queues itself again
    subprocess.run(["scontrol", "requeue", warned], check=False)  # whoever comes first
    goes_on_by_itself(head, trainings)


def test_out_of_time_a_training_goes_on_by_itself(tmp_path: Path) -> None:
    # Slurm looks at time limits every half minute
    trainings = {"timed": 400}
    folder = toy(tmp_path / "toy", trainings, hours=1 / 60, warning_seconds=50)
    goes_on_by_itself(Head(folder, "all"), trainings)


def goes_on_by_itself(head: Head, trainings: dict[str, int]) -> None:
    head.succeeds()
    assert finished(head.folder) == {name: weights(steps) for name, steps in trainings.items()}
    for name in trainings:
        assert restarts(head.folder, f"train/{name}") >= 1
        assert "stopped at step" in log(head.folder, name), "it lost nothing of what it had done"
    assert submissions(head.folder) == jobs(*trainings)


def test_after_kill_9_a_second_head_finds_what_runs_and_what_has_ended(tmp_path: Path) -> None:
    trainings = {"done": 5, "ends_alone": 200, "runs_on": 400}
    folder = toy(tmp_path / "toy", trainings)
    first = Head(folder, "all")
    for name in ("ends_alone", "runs_on"):
        first.running_node(f"train/{name}")
    first.until(lambda: "done" in finished(folder), "one training is evaluated")
    first.kill()
    ended = folder / "results/toy/train/ends_alone.txt"
    cluster.wait_until(ended.exists, 200, "the training ends without a head")
    screen = Head(folder, "all").succeeds()
    assert "train/ends_alone: found again as job" in screen
    assert "train/runs_on: found again as job" in screen
    assert finished(folder) == {name: weights(steps) for name, steps in trainings.items()}
    assert submissions(folder) == jobs(*trainings)


def test_ctrl_c_cancels_the_jobs_and_a_second_start_resumes(tmp_path: Path) -> None:
    folder = toy(tmp_path / "toy", {"one": 100, "two": 100})
    head = Head(folder, "all")
    for name in ("one", "two"):
        head.running_node(f"train/{name}")
    head.until(lambda: begun(folder, "one", "two"), "both have done some steps")
    head.interrupt()
    assert head.ends() != 0
    assert "Cancelling 2 jobs" in head.screen
    cluster.wait_until(lambda: not alive(folder), 120, "no job is left")
    Head(folder, "all").succeeds()
    assert finished(folder) == {"one": weights(100), "two": weights(100)}
    for name in ("one", "two"):
        assert log(folder, name).startswith("from step")
        assert "from step 0" not in log(folder, name)


def test_ctrl_c_in_the_middle_of_submitting_leaves_no_job(tmp_path: Path) -> None:
    folder = toy(tmp_path / "toy", {f"number{number}": 100 for number in range(20)})
    head = Head(folder, "all")
    head.until(lambda: len(alive(folder)) >= 3, "some are submitted")
    head.interrupt()
    assert head.ends() != 0
    assert "Cancelling" in head.screen
    cluster.wait_until(lambda: not alive(folder), 120, "no job is left")


@pytest.mark.slow
def test_ctrl_c_that_slurm_does_not_hear_says_so(tmp_path: Path) -> None:
    folder = toy(tmp_path / "toy", {"one": 150})
    head = Head(folder, "all")
    head.running_node("train/one")
    cluster.stop_controller()
    try:
        head.interrupt()
        assert head.ends() != 0
    finally:
        cluster.start_controller()
    assert "Slurm does not answer: 1 jobs go on" in head.screen
    assert "found again as job" in Head(folder, "all").succeeds()
    assert finished(folder) == {"one": weights(150)}
    assert submissions(folder) == jobs("one")


def test_a_failure_has_a_reason_and_a_log_and_only_it_is_repeated(tmp_path: Path) -> None:
    failing = {"raises": 5, "hungry": 30, "scancelled": 60, "killed": 5}
    folder = toy(tmp_path / "toy", {**failing, "fine": 5})
    head = Head(folder, "all")
    head.running_node("train/scancelled")
    cluster.run("scancel", str(record(folder, "train/scancelled")["job_id"]))
    assert head.ends() == 1
    said = {name: reason(head.screen, name) for name in failing}
    assert "exit status 1: ValueError: the loss is not finite" in said["raises"]
    assert "memory limit" in said["hungry"]
    assert "raise memory_gb of stages.train (now 0.5)" in said["hungry"]
    assert "killed by signal 9: from step 0" in said["killed"]
    assert "CANCELLED" in said["scancelled"]
    for name in failing:
        assert f"log: results/toy/logs/train/{name}.log" in said[name]
    assert "Traceback" not in head.screen
    assert finished(folder) == {"fine": weights(5)}, "other branches go on"
    (folder / "mended").touch()
    Head(folder, "all").succeeds()
    assert finished(folder) == {
        name: weights(steps) for name, steps in [*failing.items(), ("fine", 5)]
    }
    assert submissions(folder) == {
        **jobs("fine", *failing),
        **{f"toy/train/{name}": 2 for name in failing},
    }


def reason(screen: str, name: str) -> str:
    """The one line that says why this training failed."""
    (line,) = [line for line in screen.splitlines() if f"train/{name} failed: " in line]
    return line


def test_the_jobs_of_a_dead_node_go_on_elsewhere(tmp_path: Path) -> None:
    folder = toy(tmp_path / "toy", {"one": 100})
    head = Head(folder, "all")
    node = head.running_node("train/one")
    cluster.kill_node(node, noticed=True)
    try:
        head.succeeds()
    finally:
        cluster.revive_node(node)
    assert finished(folder) == {"one": weights(100)}
    assert submissions(folder) == jobs("one")


def test_patience_while_controller_and_database_are_away(tmp_path: Path) -> None:
    folder = toy(tmp_path / "toy", {"one": 50})
    head = Head(folder, "all")
    head.running_node("train/one")
    head.until(lambda: begun(folder, "one"), "it has done some steps")
    cluster.stop_controller()
    cluster.stop_database()
    try:
        done = folder / "results/toy/train/one.txt"
        cluster.wait_until(done.exists, 200, "the training ends meanwhile")
        time.sleep(10)
    finally:
        cluster.start_database()
        cluster.start_controller()
    screen = head.succeeds()
    assert "Slurm does not answer; waiting until it does." in screen
    assert finished(folder) == {"one": weights(50)}
    assert submissions(folder) == jobs("one")
