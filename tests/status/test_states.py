"""A job's state is told from its files: every state, and the doubtful ones in between."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2mc.cluster.records import Record
from e2mc.config import Experiment, parse_experiment
from e2mc.files import write_json, write_text
from e2mc.lock import locked
from e2mc.plan.jobs import jobs
from e2mc.plan.layout import heartbeat
from e2mc.status.states import Status, statuses
from tests.small_experiment import small_experiment

MODEL = "swav-30-e2mc-trial0"
TRAINING, PROBE = f"logs/pretrain/{MODEL}.log", f"logs/linear/{MODEL}.log"
STATE = ".runs/pretrain/swav-30/e2mc/trial0"


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return parse_experiment({**small_experiment(), "figures": {}}, "small")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path


def status(experiment: Experiment, results: Path, log: str = TRAINING) -> Status:
    (found,) = [one for one in statuses(experiment, results) if one.job.log == log]
    return found


def report(results: Path, **changes: Any) -> None:
    """What a training tells of itself."""
    content = {
        **{"status": "running", "epoch": 3, "epochs": 10, "step": 37, "steps": 100},
        **{"images_per_second": 812.0, "seconds_left": 90, "host": socket.gethostname()},
        **{"pid": os.getpid(), "updated": time.time(), "cost": {"restarts": 2}},
    }
    write_json(results / STATE / "progress.json", content | changes)


def record(results: Path, log: str, state: str, seen: float = 0.0, **more: Any) -> None:
    """What a head tells of a cluster job that it saw so many seconds ago."""
    one = Record(
        **{"rule": "linear", "name": "x", "command": "e2mc linear", "fingerprint": "f"},
        **{"log": str(results / log), "tasks": 1, "gpus": 1, "nodes": 1, "job_id": "17"},
        **{"state": state, **more},
    )
    one.write()
    path = one.folder / "job.json"
    write_json(path, json.loads(path.read_text()) | {"seen": time.time() - seen})


@pytest.fixture
def head(results: Path) -> Iterator[None]:
    with locked(results / ".head"):
        yield


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_nothing_has_begun(experiment: Experiment, results: Path) -> None:
    found = statuses(experiment, results / "not there")
    assert [one.job for one in found] == jobs(experiment)
    assert {one.state for one in found} == {"not started"}


def test_a_job_is_done_when_all_its_outputs_are_there(
    experiment: Experiment, results: Path
) -> None:
    *first, last = status(experiment, results, PROBE).job.outputs
    for file in first:
        write_text(results / file, "")
    assert status(experiment, results, PROBE).state == "not started"
    write_text(results / last, "")
    write_text(results / PROBE, "e2mc linear: of an earlier start")
    assert status(experiment, results, PROBE).state == "done"


def test_features_may_be_deleted_when_all_that_reads_them_is_done(
    experiment: Experiment, results: Path
) -> None:
    features = f"logs/extract_transfer/{MODEL}.log"
    write_text(results / features, "voc07-test: 5 of 5 images")
    readers = [f"logs/{stage}/{MODEL}.log" for stage in ("inat18", "voc07")]
    readers.append(f"logs/few_shot/{MODEL}-inverted.log")
    for reader, expected in zip(readers, ("interrupted", "interrupted", "done"), strict=True):
        for file in status(experiment, results, reader).job.outputs:
            write_text(results / file, "")
        assert status(experiment, results, features).state == expected


def test_a_training_runs_while_its_lock_is_held(
    experiment: Experiment, results: Path, dead: int
) -> None:
    report(results, updated=0, pid=dead)  # a step may take minutes; the lock says that it lives
    with locked(results / STATE / "lock"):
        found = status(experiment, results)
    assert (found.state, found.progress["step"]) == ("running", 37)
    assert status(experiment, results).state == "interrupted"


@pytest.mark.parametrize(
    ("host", "alive", "age", "state"),
    [
        ("here", True, 1, "running"),
        ("here", False, 1, "interrupted"),
        ("here", True, 300, "interrupted"),
        ("node7", False, 1, "running"),
        ("node7", True, 300, "interrupted"),
    ],
)
def test_progress_is_believed_while_it_is_fresh_and_its_process_lives(
    experiment: Experiment, results: Path, dead: int, host: str, alive: bool, age: int, state: str
) -> None:
    host = socket.gethostname() if host == "here" else host
    report(results, host=host, pid=os.getpid() if alive else dead, updated=time.time() - age)
    assert status(experiment, results).state == state


@pytest.mark.parametrize(
    ("told", "saved", "note"),
    [
        ("interrupted", True, "told to stop; its state is saved"),
        ("running", True, "killed; its state is saved"),
        ("running", False, "killed; no state was saved yet"),
    ],
)
def test_an_interrupted_training_says_whether_it_can_go_on(
    experiment: Experiment, results: Path, dead: int, told: str, saved: bool, note: str
) -> None:
    report(results, status=told, pid=dead)
    if saved:
        write_text(results / STATE / "step-000000000030.sha256", "")
    found = status(experiment, results)
    assert (found.state, found.note) == ("interrupted", note)


def test_a_verb_runs_while_its_heart_beats(experiment: Experiment, results: Path) -> None:
    """A process of the command line whose output goes to the job's log, killed in its middle."""
    log = results / PROBE
    log.parent.mkdir(parents=True)
    program = (
        "import time\nfrom e2mc import cli\nfrom e2mc.cli import verbs\n"
        "def status(arguments): print('20 of 100 epochs', flush=True); time.sleep(60)\n"
        "verbs.status = status; cli.main(['status'])"
    )
    with log.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=stream)
    while not log.read_text() and process.poll() is None:
        time.sleep(0.01)
    found = status(experiment, results, PROBE)
    process.kill()
    process.wait()
    assert (found.state, found.note) == ("running", "20 of 100 epochs")
    assert status(experiment, results, PROBE).state == "interrupted"


@pytest.mark.parametrize(("age", "state"), [(1, "running"), (300, "interrupted")])
def test_a_heartbeat_on_another_machine_is_believed_while_it_is_fresh(
    experiment: Experiment, results: Path, age: int, state: str
) -> None:
    write_text(results / PROBE, "20 of 100 epochs")
    beat = heartbeat(results / PROBE)
    write_json(beat, {"machine": "node7 pid:[1]", "pid": 1, "token": "x"})
    os.utime(beat, (time.time() - age,) * 2)
    assert status(experiment, results, PROBE).state == state


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epoch 1\ne2mc linear: no such file\n", "e2mc linear: no such file"),
        ("e2mc linear: two lines:\n  key: wrong\n\n", "e2mc linear: two lines:"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n", "KeyError: 'a'"),
        (
            "/usr/bin/bash: line 1: e2mc: command not found\n",
            "/usr/bin/bash: line 1: e2mc: command",
        ),
    ],
)
def test_a_job_that_said_why_it_ended_has_failed(
    experiment: Experiment, results: Path, text: str, reason: str
) -> None:
    write_text(results / PROBE, "\n".join(f"line {n}" for n in range(5000)) + "\n" + text)
    found = status(experiment, results, PROBE)
    assert found.state == "failed"
    assert found.note.startswith(reason)
    assert len(found.tail) == 5
    assert found.tail[-1] == text.strip().splitlines()[-1]


def test_a_failed_training(experiment: Experiment, results: Path) -> None:
    report(results, status="failed")
    assert status(experiment, results).state == "failed"


@pytest.mark.usefixtures("head")
@pytest.mark.parametrize(
    ("slurm", "state", "note"),
    [
        ("SUBMITTING", "queued", "why"),
        ("PENDING", "queued", "why"),
        ("REQUEUED", "queued", "why"),
        ("RUNNING", "running", "why"),
        ("COMPLETING", "running", "why"),
        ("FAILED", "failed", "why"),
        ("CANCELLED", "interrupted", "why"),
        ("DONE", "not started", ""),  # somebody has removed the results since
    ],
)
def test_a_cluster_job_is_what_its_head_says(
    experiment: Experiment, results: Path, slurm: str, state: str, note: str
) -> None:
    record(results, PROBE, slurm, seen=30, reason="why")
    found = status(experiment, results, PROBE)
    assert (found.state, found.note) == (state, note)


def test_a_cluster_job_that_no_head_looks_at(experiment: Experiment, results: Path) -> None:
    for state in ("PENDING", "RUNNING"):
        record(results, PROBE, state, seen=30)
        assert status(experiment, results, PROBE).state == "unmonitored"
    with locked(results / ".head"):
        assert status(experiment, results, PROBE).state == "running"
        record(results, PROBE, "RUNNING", seen=900)
        assert status(experiment, results, PROBE).state == "unmonitored"
    record(results, TRAINING, "RUNNING", seen=900)
    report(results, host="node7")
    assert status(experiment, results).state == "running", "it speaks for itself"


def test_a_later_start_without_the_cluster_outweighs_its_record(
    experiment: Experiment, results: Path
) -> None:
    record(results, PROBE, "FAILED", seen=900, reason="out of memory")
    write_text(results / PROBE, "e2mc linear: something else\n")
    assert status(experiment, results, PROBE).note == "e2mc linear: something else"


def test_damaged_files_do_not_stop_the_look(experiment: Experiment, results: Path) -> None:
    for file in (f"{STATE}/progress.json", f".runs/jobs/linear/{MODEL}/job.json"):
        for content in ("{", "[]", '{"status": 3}'):
            write_text(results / file, content)
            assert status(experiment, results).state in ("not started", "interrupted")
            assert status(experiment, results, PROBE).state == "not started"
