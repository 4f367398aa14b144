"""Slurm's answers and silences, from stand-ins for its commands."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from e2mc.cluster.backends import forget_own_job, open_queue
from e2mc.cluster.records import Record
from e2mc.cluster.settings import Cluster, Stage
from e2mc.cluster.slurm import SlurmQueue
from e2mc.errors import E2MCError

CLUSTER = Cluster.model_validate({"partitions": {}, "stages": {}})

Command = Callable[..., None]


@pytest.fixture(name="command")
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Puts a stand-in on the path that prints and ends as told."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def put(name: str, prints: str, status: int = 0) -> None:
        (tmp_path / f"{name}.txt").write_text(prints)
        script = f"#!/bin/sh\ncat {tmp_path}/{name}.txt\necho $* >> {tmp_path}/{name}.calls\n"
        (tmp_path / name).write_text(f"{script}exit {status}\n")
        (tmp_path / name).chmod(0o755)

    return put


def record(job_id: str = "12", name: str = "x/pretrain/a", workdir: str = "/work") -> Record:
    log = "results/x/logs/pretrain/a.log"
    return Record("pretrain", name, "true", "f", log, 1, 0, 1, workdir=workdir, job_id=job_id)


def test_one_squeue_tells_of_all_jobs(command: Command, tmp_path: Path) -> None:
    rows = [f"{number}|PENDING|0||Priority|/work|x/pretrain/{number}|" for number in range(700)]
    command("squeue", "\n".join([*rows, "9|RUNNING|3|n[1-2]|None|/work|x/pretrain/9|"]))
    jobs = SlurmQueue(CLUSTER).jobs()
    assert jobs is not None
    assert len(jobs) == 700
    assert jobs["9"] == ("9", "RUNNING", "/work|x/pretrain/9", "n[1-2]", 3, "None")
    (call,) = (tmp_path / "squeue.calls").read_text().splitlines()
    assert f"--user={os.getuid()} " in call, "a name that nobody knows is no error to squeue"


@pytest.mark.parametrize("name", ["a|b|c", "|", "a b", "", "x|RUNNING|0|n1|None|/work|y"])
def test_any_name_of_another_job_is_read(command: Command, name: str) -> None:
    others = f"7|RUNNING|0|n1|None|/home/u|{name}|"
    command("squeue", f"CLUSTER: lab2\n{others}\nnonsense\n8|RUNNING|many|n1|None|/w|z|\n\n")
    jobs = SlurmQueue(CLUSTER).jobs()
    assert jobs == {"7": ("7", "RUNNING", f"/home/u|{name}", "n1", 0, "None")}


def test_a_folder_with_a_bar_in_its_name_is_recognised(command: Command) -> None:
    mine = record(name="a|b", workdir="/odd|folder")
    command("squeue", "12|RUNNING|0|n1|None|/odd|folder|a|b|\n")
    jobs = SlurmQueue(CLUSTER).jobs()
    assert jobs is not None
    assert jobs["12"].identity == mine.identity


def test_silence_is_no_answer_and_not_an_empty_queue(command: Command) -> None:
    command("squeue", "slurm_load_jobs error: Unable to contact slurm controller", status=1)
    command("sacct", "", status=1)
    assert SlurmQueue(CLUSTER).jobs() is None
    assert SlurmQueue(CLUSTER).histories([record()]) is None
    assert SlurmQueue(CLUSTER).namesakes([record()]) == []
    command("squeue", "")
    assert SlurmQueue(CLUSTER).jobs() == {}


def test_a_memory_kill_of_a_step_is_the_end_of_its_job(command: Command) -> None:
    rows = [
        "12|FAILED|/work|x/pretrain/a",
        "12.batch|FAILED||batch",
        "12.0|OUT_OF_MEMORY||python",
        "13|CANCELLED by 7|/work|x/pretrain/a",
        "13.0|FAILED||python",
        "14|RUNNING|/work|x/pretrain/a",
        "14.0|OUT_OF_MEMORY||python",
    ]
    command("sacct", "\n".join(rows))
    histories = SlurmQueue(CLUSTER).histories([record("12"), record("13"), record("14")])
    assert histories == {"12": "OUT_OF_MEMORY", "13": "CANCELLED by 7", "14": "RUNNING"}


def test_accounting_of_another_job_with_its_number_says_nothing(command: Command) -> None:
    rows = [
        "12|RUNNING|/work|another",
        "12.0|OUT_OF_MEMORY||python",
        "13|RUNNING|/home|x/pretrain/a",
    ]
    command("sacct", "\n".join(rows))
    assert SlurmQueue(CLUSTER).histories([record("12"), record("13")]) == {}


def test_jobs_of_its_name_that_accounting_calls_alive(command: Command) -> None:
    rows = ["1|COMPLETED", "2|RUNNING", "3|PENDING", "4|CANCELLED by 0"]
    mine = [f"{row}|/work|x/pretrain/a" for row in rows]
    command("sacct", "\n".join([*mine, "5|RUNNING|/home|x/pretrain/a"]))
    found = SlurmQueue(CLUSTER).namesakes([record()])
    assert [job.job_id for job in found] == ["2", "3"]


def test_one_cluster_of_several_is_asked_throughout(command: Command, tmp_path: Path) -> None:
    for name in ("squeue", "sacct", "scancel", "scontrol"):
        command(name, "")
    queue = SlurmQueue(CLUSTER.model_copy(update={"cluster": "lab2"}))
    queue.jobs()
    queue.histories([record()])
    queue.namesakes([record()])
    queue.cancel(["12"])
    queue.is_there()
    for file in tmp_path.glob("*.calls"):
        assert all("--clusters=lab2" in call for call in file.read_text().splitlines()), file
    assert len(list(tmp_path.glob("*.calls"))) == 4


def test_several_clusters_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CLUSTERS", "lab1,lab2")
    with pytest.raises(E2MCError, match="SLURM_CLUSTERS names several clusters"):
        SlurmQueue(CLUSTER)
    monkeypatch.setenv("SLURM_CLUSTERS", "lab1")
    SlurmQueue(CLUSTER)


def test_a_users_own_columns_and_filters_do_not_reach_squeue(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("squeue", "")
    (tmp_path / "squeue").write_text('#!/bin/sh\necho "1|RUNNING|0||None|/w|$SQUEUE_PARTITION|"\n')
    monkeypatch.setenv("SQUEUE_PARTITION", "gpu")
    jobs = SlurmQueue(CLUSTER).jobs()
    assert jobs is not None
    assert jobs["1"].identity == "/w|"


def test_the_heads_own_job_is_forgotten_and_the_site_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forgotten = ("SLURM_JOB_ID", "SLURM_NTASKS", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    kept = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SBATCH_ACCOUNT")
    for name in (*forgotten, *kept):
        monkeypatch.setenv(name, "1")
    forget_own_job()
    assert [name for name in forgotten if name in os.environ] == []
    assert [name for name in kept if name not in os.environ] == []


def test_no_slurm_on_the_path_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(E2MCError, match="no Slurm here: sbatch, squeue, sacct"):
        open_queue(CLUSTER)


def test_what_sbatch_would_object_to(command: Command) -> None:
    stage = Stage.model_validate({"partition": "any", "memory_gb": 1, "hours": 1})
    cluster = Cluster.model_validate({"partitions": {"any": {}}, "stages": {"work": stage}})
    command("srun", "")
    command("sbatch", "")
    queue = SlurmQueue(cluster)
    assert queue.request(stage) == queue.request(stage), "asked once for all that want the same"
    assert queue.objection(queue.request(stage)) is None
