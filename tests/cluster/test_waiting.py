"""When a job counts as ended, from what squeue and sacct say of it."""

import time
from pathlib import Path

import pytest

from e2mc.cluster.queues import Sighting
from e2mc.cluster.records import Record
from e2mc.cluster.results import Outcome
from e2mc.cluster.settings import Stage
from e2mc.cluster.waiting import DOUBT, Waiting, end_of, is_worth_telling, reason_to_wait

STAGE = Stage.model_validate({"partition": "any", "memory_gb": 8, "hours": 1})
LOG = "results/x/logs/pretrain/a.log"
PATIENCE = 30.0


def waiting(gone: float = PATIENCE + 1, end: str | None = None, found: bool = False) -> Waiting:
    record = Record(
        "pretrain", "x/pretrain/a", "true", "f", LOG, 1, 0, 1, workdir="/work", job_id="12"
    )
    return Waiting(record, STAGE, found=found, gone_since=time.monotonic() - gone, end=end)


LONG = DOUBT * PATIENCE + 1


@pytest.mark.parametrize(
    ("gone", "end", "history", "ended_as"),
    [
        (31, None, "COMPLETED", "COMPLETED"),
        (31, None, "CANCELLED by 7", "CANCELLED by 7"),
        (LONG, None, "RUNNING", None),
        (LONG, None, "PENDING", None),
        (31, None, None, None),
        (LONG, None, None, "GONE"),
        (31, "FAILED", None, "FAILED"),
        (31, "FAILED", "RUNNING", "FAILED"),
        (31, "FAILED", "OUT_OF_MEMORY", "OUT_OF_MEMORY"),
        (31, "NODE_FAIL", "RUNNING", None),
        (LONG, "NODE_FAIL", "RUNNING", "NODE_FAIL"),
        (31, None, "NODE_FAIL", None),
        (LONG, None, "NODE_FAIL", "NODE_FAIL"),
        (31, "NODE_FAIL", "NODE_FAIL", "NODE_FAIL"),
        (31, "GONE", None, "GONE"),
    ],
)
def test_what_may_be_alive_is_waited_for(
    gone: float, end: str | None, history: str | None, ended_as: str | None
) -> None:
    assert waiting(gone, end).ended_as(history, PATIENCE) == ended_as


def test_a_job_is_known_by_number_name_and_folder() -> None:
    for identity, alive, end in [
        ("/work|x/pretrain/a", True, None),
        ("/work|another", False, "GONE"),
        ("/elsewhere|x/pretrain/a", False, "GONE"),
    ]:
        one = waiting()
        assert one.see(Sighting("12", "RUNNING", identity)) is alive
        assert one.end == end
    one = waiting(end="FAILED")
    assert not one.see(None)
    assert one.end == "FAILED", "what was seen once is not forgotten"


def sighting(state: str, reason: str | None) -> Sighting:
    return Sighting("12", state, "/work|x/pretrain/a", "n1", 0, reason)


@pytest.mark.parametrize(
    ("state", "reason", "said", "told"),
    [
        ("RUNNING", "None", None, False),
        ("PENDING", "None", None, False),
        ("PENDING", "Priority", "Priority", False),
        ("PENDING", "PartitionTimeLimit", "PartitionTimeLimit", True),
        ("PENDING", "JobHeldUser", "JobHeldUser (to let it go: scontrol release JOB)", True),
        ("REQUEUE_HOLD", "None", "REQUEUE_HOLD (to let it go: scontrol release JOB)", True),
        ("SUSPENDED", "None", "SUSPENDED", True),
        ("SIGNALING", "None", None, False),
    ],
)
def test_why_a_job_waits(state: str, reason: str, said: str | None, told: bool) -> None:
    assert reason_to_wait(sighting(state, reason)) == said
    assert is_worth_telling(said) is told


def test_completing_for_long_is_noticed() -> None:
    one = waiting()
    assert not one.is_completing_long(sighting("COMPLETING", None), PATIENCE)
    assert one.completing_since is not None
    one.completing_since -= LONG
    assert one.is_completing_long(sighting("COMPLETING", None), PATIENCE)
    assert not one.is_completing_long(sighting("RUNNING", None), PATIENCE)
    assert one.completing_since is None


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("failure", [None, Outcome("killed by signal 9: epoch 3", LOG)])
def test_want_of_memory_is_named_with_its_remedy(failure: Outcome | None) -> None:
    one = waiting()
    one.failure = failure
    end = end_of(one, "OUT_OF_MEMORY")
    assert end.reason == "Slurm: OUT_OF_MEMORY; raise memory_gb of stages.pretrain (now 8)"
    assert not end.again
    one.record.submitit.mkdir(parents=True)
    said = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0. Some of the step tasks"
    (one.record.submitit / "12_0_log.err").write_text(f"{said}\n")
    assert "oom-kill event" in end_of(one, "FAILED").reason
    assert "raise memory_gb" in end_of(one, "FAILED").reason


def test_what_says_nothing_about_a_job_is_tried_again() -> None:
    assert end_of(waiting(), "NODE_FAIL").again
    assert end_of(waiting(), "GONE").again
    assert end_of(waiting(found=True), "CANCELLED by 7").again
    assert not end_of(waiting(), "CANCELLED by 7").again
    one = waiting(found=True)
    one.failure = Outcome("killed by signal 9: epoch 3", LOG)
    assert end_of(one, "FAILED") == ("killed by signal 9: epoch 3", LOG, False)
    assert end_of(one, "NODE_FAIL").again
