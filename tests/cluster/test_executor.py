"""The whole way through Snakemake, with processes of this machine in place of a cluster."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.cluster.toy import STAGE, Toy, kill_head


def test_jobs_leave_output_log_and_record(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    status, screen = toy.run([1, 2])
    assert status == 0, screen
    assert toy.outputs() == ["1", "2"]
    assert (tmp_path / "results/toy/logs/work/1.log").read_text() == "process 0 of 1\n"
    assert toy.record(1)["state"] == "DONE"
    assert toy.record(1)["name"] == "toy/work/1"
    assert toy.run([1, 2])[1].count("Nothing to be done") == 1


def test_a_failure_is_one_line_and_only_it_is_repeated(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    (tmp_path / "broken-2").touch()
    status, screen = toy.run([1, 2, 3])
    assert status == 1
    failures = [line for line in screen.splitlines() if "failed: " in line]
    assert len(failures) == 1
    assert "work/2 failed: exit status 1: ValueError: number 2 is broken" in failures[0]
    assert "log: results/toy/logs/work/2.log" in failures[0]
    assert toy.outputs() == ["1", "3"], "other branches go on"
    (tmp_path / "broken-2").unlink()
    status, screen = toy.run([1, 2, 3])
    assert status == 0, screen
    assert sorted(toy.begun()) == ["1", "2", "2", "3"]


def test_a_second_head_finds_running_and_finished_jobs(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    head = toy.start([1, 2], seconds=6)
    toy.wait_for_begun(2)
    kill_head(head)
    status, screen = toy.run([1, 2], seconds=6)
    assert status == 0, screen
    assert screen.count("found again as job") == 2
    assert sorted(toy.begun()) == ["1", "2"], "nothing ran twice"

    head = toy.start([3], seconds=2)
    toy.wait_for_begun(3)
    kill_head(head)
    time.sleep(4)
    assert "3" in toy.outputs(), "it ended while no head was there"
    status, screen = toy.run([3], seconds=2)
    assert status == 0, screen
    assert toy.begun().count("3") == 1


def test_a_job_that_failed_without_a_head_is_run_again(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    (tmp_path / "broken-1").touch()
    head = toy.start([1], seconds=1)
    toy.wait_for_begun(1)
    kill_head(head)
    time.sleep(3)
    (tmp_path / "broken-1").unlink()
    status, screen = toy.run([1], seconds=1)
    assert status == 0, screen
    assert toy.begun() == ["1", "1"]


def test_a_job_that_is_out_of_date_is_cancelled_and_submitted_anew(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    head = toy.start([1], seconds=60)
    toy.wait_for_begun(1)
    old = int(str(toy.record(1)["job_id"]))
    kill_head(head)
    status, screen = toy.run([1], seconds=1)
    assert status == 0, screen
    assert toy.begun() == ["1", "1"]
    assert not psutil.pid_exists(old)


def test_ctrl_c_cancels_and_says_so(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    head = toy.start([1], seconds=60)
    toy.wait_for_begun(1)
    while toy.record(1)["state"] != "RUNNING":
        time.sleep(0.1)
    os.kill(head.pid, signal.SIGINT)
    screen, _ = head.communicate(timeout=60)
    assert "Cancelling 1 jobs" in screen
    assert "Run the same command again to resume" in screen
    assert toy.record(1)["state"] == "CANCELLED"
    status, screen = toy.run([1], seconds=0)
    assert status == 0, screen


def test_several_processes_know_each_other(tmp_path: Path) -> None:
    toy = Toy(tmp_path, stages={"work": {**STAGE, "gpus": 2}})
    status, screen = toy.run([1])
    assert status == 0, screen
    logs = tmp_path / "results/toy/logs/work"
    assert (logs / "1.log").read_text() == "process 0 of 2\n"
    assert (logs / "1.rank1.log").read_text() == "process 1 of 2\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": {"wrok": STAGE}}, "stages.wrok: no such rule; rules: all, work"),
        ({"stages": {}}, "say under `stages` what a job of work takes"),
        ({"poll_secnods": 3}, "did you mean 'poll_seconds'?"),
        ({"stages": {"work": {**STAGE, "partition": "gpu"}}}, "no 'gpu' under partitions (any)"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    toy = Toy(tmp_path)
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **change}))
    status, screen = toy.run([1])
    assert status == 1
    assert message in screen
    assert toy.begun() == []
