"""What a job left behind: its result, who of its processes died first, and whose word counts."""

import os
import pickle
from pathlib import Path

import pytest

from e2mc.cluster.records import Record, job_name
from e2mc.cluster.results import (
    Death,
    death_file,
    last_words,
    outcome,
    slurm_complaint,
    was_launched,
)
from e2mc.files import write_json


def record(log: str = "results/x/logs/pretrain/a.log", tasks: int = 1) -> Record:
    name = job_name(log)
    return Record("pretrain", name, "true", "f", log, tasks, gpus=0, nodes=1, job_id="12")


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
    assert outcome(job) == (None, "")
    trace = 'Traceback\n  File "x"\nRuntimeError: exit status 1: ValueError: bad\n'
    second.write_bytes(pickle.dumps(("error", trace)))
    assert outcome(job) == ("exit status 1: ValueError: bad", job.log)


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
    for said in (
        "Unable to create step for job 12: Invalid generic resource (gres) specification",
        "Unable to confirm allocation for job 12: Unable to contact slurm controller",
    ):
        (job.submitit / "12_0_log.err").write_text(f"srun: error: {said}\n")
        assert slurm_complaint(job) == said
        assert not was_launched(said)


def fails(job: Record, rank: int, death: Death) -> None:
    job.submitit.mkdir(parents=True, exist_ok=True)
    write_json(death_file(job.submitit, "12", rank), death._asdict())


def has_error(job: Record, rank: int, message: str) -> None:
    job.submitit.mkdir(parents=True, exist_ok=True)
    result = ("error", f"Traceback\nRuntimeError: {message}\n")
    (job.submitit / f"12_{rank}_result.pkl").write_bytes(pickle.dumps(result))


RESET = "exit status 1: Connection reset by peer"


def test_a_crashed_process_is_to_blame_and_not_the_one_that_lost_its_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = record(tasks=2)
    has_error(job, 0, RESET)
    assert outcome(job) == (RESET, job.log)
    fails(job, 0, Death(100.0, 0, 1, RESET, job.log))
    fails(job, 1, Death(100.2, 0, -11, "killed by signal 11: epoch 3", "a.rank1.log"))
    assert outcome(job) == ("killed by signal 11: epoch 3", "a.rank1.log")


def test_of_two_exceptions_the_first_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = record(tasks=2)
    has_error(job, 0, RESET)
    fails(job, 0, Death(100.2, 1, 1, RESET, job.log))
    fails(job, 1, Death(100.0, 1, 1, "exit status 1: ValueError: bad", "a.rank1.log"))
    assert outcome(job) == ("exit status 1: ValueError: bad", "a.rank1.log")
    fails(job, 1, Death(50.0, 0, 1, "exit status 1: of an earlier start", "a.rank1.log"))
    assert outcome(job) == (RESET, job.log)


@pytest.mark.parametrize(
    ("message", "killed"),
    [
        ("killed by signal 9: epoch 3", True),
        ("exit status 1: DataLoader worker (pid 7) is killed by signal: Killed.", True),
        ("killed by signal 11: epoch 3", False),
        ("exit status 1: torch.OutOfMemoryError: CUDA out of memory", False),
    ],
)
def test_whether_slurm_may_know_more_of_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, killed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    job = record()
    has_error(job, 0, message)
    result = outcome(job)
    assert result is not None
    assert result.killed is killed


@pytest.mark.parametrize(
    "answer", ["died with <Signals.SIGTERM: 15>.", "returned non-zero exit status 1."]
)
def test_a_requeue_without_a_good_answer_may_have_been_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    job = record()
    said = f"Command '['scontrol', 'requeue', '12']' {answer}"
    log = Path(job.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("stopped at step 7\n")
    has_error(job, 0, said)
    assert outcome(job) is None
    assert last_words(job) == (str(job.submitit / "12_0_log.err"), said), "if Slurm calls it over"
    result = job.submitit / "12_0_result.pkl"
    os.utime(log, ns=(0, result.stat().st_mtime_ns + 10**9))
    assert last_words(job) == (job.log, None), "it was queued again and has run since"


def test_the_log_that_tells_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = record()
    job.submitted = 1_000_000.0
    assert last_words(job) == (job.log, None)
    job.submitit.mkdir(parents=True)
    theirs = job.submitit / "12_0_log.err"
    theirs.write_text("slurmstepd: error: *** JOB 12 CANCELLED ***\nsubmitit INFO: x\n")
    assert last_words(job) == (job.log, None), "nothing but Slurm's own words, told elsewhere"
    theirs.write_text("No module named submitit\nsrun: error: n1: task 0: Exited\n")
    assert last_words(job) == (str(theirs), "No module named submitit")
    log = Path(job.log)
    log.parent.mkdir(parents=True)
    log.write_text("of an earlier submission\n")
    os.utime(log, (900_000, 900_000))
    assert last_words(job)[0] == str(theirs)
    os.utime(log, (1_000_001, 1_000_001))
    assert last_words(job) == (job.log, None)
