"""Slurm's answers and silences, from stand-ins for its commands."""

import os
import pickle
from pathlib import Path

import pytest

from e2mc.cluster.queues import SlurmQueue, is_busy
from e2mc.cluster.records import Record, job_name, read_record
from e2mc.cluster.results import outcome, slurm_complaint, was_launched
from e2mc.cluster.settings import Cluster

CLUSTER = Cluster.model_validate({"partitions": {}, "stages": {}})


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Puts a stand-in on the path that prints and ends as told."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def put(name: str, prints: str, status: int = 0) -> None:
        (tmp_path / f"{name}.txt").write_text(prints)
        script = f"#!/bin/sh\ncat {tmp_path}/{name}.txt\necho $* >> {tmp_path}/{name}.calls\n"
        (tmp_path / name).write_text(f"{script}exit {status}\n")
        (tmp_path / name).chmod(0o755)

    return put


def record(log: str = "results/x/logs/pretrain/a.log", tasks: int = 1) -> Record:
    name = job_name(log)
    return Record("pretrain", name, "true", "f", log, tasks, gpus=0, nodes=1, job_id="12")


def test_one_squeue_tells_of_all_jobs(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rows = [f"{number}|PENDING|x/pretrain/{number}|/work||0|" for number in range(700)]
    command("squeue", "\n".join([*rows, "9|RUNNING|x/pretrain/9|/work|n[1-2]|3|"]))
    jobs = SlurmQueue(CLUSTER).jobs()
    assert jobs is not None
    assert len(jobs) == 700
    assert jobs["9"] == ("9", "RUNNING", "x/pretrain/9", "/work", "n[1-2]", 3)
    assert len((tmp_path / "squeue.calls").read_text().splitlines()) == 1


def test_silence_is_no_answer_and_not_an_empty_queue(command) -> None:  # type: ignore[no-untyped-def]
    command("squeue", "slurm_load_jobs error: Unable to contact slurm controller", status=1)
    command("sacct", "", status=1)
    assert SlurmQueue(CLUSTER).jobs() is None
    assert SlurmQueue(CLUSTER).ends(["12"]) is None
    command("squeue", "")
    assert SlurmQueue(CLUSTER).jobs() == {}


def test_a_memory_kill_of_a_step_is_the_end_of_its_job(command) -> None:  # type: ignore[no-untyped-def]
    rows = [
        "12|FAILED",
        "12.batch|FAILED",
        "12.0|OUT_OF_MEMORY",
        "13|CANCELLED by 7",
        "13.0|FAILED",
    ]
    command("sacct", "\n".join(rows))
    ends = SlurmQueue(CLUSTER).ends(["12", "13"])
    assert ends == {"12": "OUT_OF_MEMORY", "13": "CANCELLED by 7"}


@pytest.mark.parametrize(
    ("complaint", "busy"),
    [
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", True),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv", True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition", False),
        ("sbatch: error: invalid partition specified: gpuu", False),
    ],
)
def test_what_sbatch_may_take_later(complaint: str, busy: bool) -> None:
    assert is_busy(complaint) is busy


def test_a_job_is_done_when_all_its_processes_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = record(tasks=2)
    assert outcome(job) is None, "not even a folder"
    job.submitit.mkdir(parents=True)
    first, second = (job.submitit / f"12_{task}_result.pkl" for task in range(2))
    first.write_bytes(pickle.dumps(("success", None)))
    assert outcome(job) is None
    second.write_bytes(pickle.dumps(("success", None))[:5])
    assert outcome(job) is None, "still being written"
    second.write_bytes(pickle.dumps(("success", None)))
    assert outcome(job) == (None,)
    trace = 'Traceback\n  File "x"\nRuntimeError: exit status 1: ValueError: bad\n'
    second.write_bytes(pickle.dumps(("error", trace)))
    assert outcome(job) == ("exit status 1: ValueError: bad",)


def test_slurms_own_word_on_a_killed_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = record()
    job.submitit.mkdir(parents=True)
    assert slurm_complaint(job) is None
    lines = ["srun: x", "slurmstepd-n1: error: Exceeded job memory limit", "srun: error: killed"]
    (job.submitit / "12_0_log.err").write_text("\n".join(lines))
    assert slurm_complaint(job) == "Exceeded job memory limit"
    assert was_launched(slurm_complaint(job))


def test_a_job_that_slurm_could_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = record()
    job.submitit.mkdir(parents=True)
    said = "Unable to create step for job 12: Invalid generic resource (gres) specification"
    (job.submitit / "12_0_log.err").write_text(f"srun: error: {said}\n")
    assert slurm_complaint(job) == said
    assert not was_launched(said)


def test_records_lie_beside_the_logs_and_a_damaged_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = record()
    assert job.name == "x/pretrain/a"
    assert job.folder == Path("results/x/.runs/jobs/pretrain/a")
    assert read_record(job.log) is None
    job.write()
    assert read_record(job.log) == job
    (job.folder / "job.json").write_text("{")
    assert read_record(job.log) is None
