"""What runs on a node, without a node."""

import time
from pathlib import Path

import pytest
from submitit.helpers import DelayedSubmission

from e2mc.cluster import command
from e2mc.cluster.command import Command
from e2mc.cluster.results import Death, death_file
from e2mc.files import read_json

HOUR = 3600.0


@pytest.fixture(autouse=True)
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of a job with number 12."""
    monkeypatch.chdir(tmp_path)
    ours = {"SUBMITIT_EXECUTOR": "slurm", "SUBMITIT_FOLDER": str(tmp_path / "submitit")}
    for name, value in {**ours, "SLURM_JOB_ID": "12", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "submitit").mkdir()
    monkeypatch.setattr(command, "KILLED_SECONDS", 0)


def work(line: str, hours: float = 1, warning: float = 120, timeouts: int = 1) -> Command:
    return Command(line, str(Path.cwd()), "logs/a.log", hours * HOUR, warning, timeouts)


def test_a_stage_does_not_inherit_the_place_of_another_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "7")
    work("env")()
    log = Path("logs/a.rank1.log").read_text()
    assert "SLURM_PROCID=1" in log
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        assert f"\n{name}=" not in f"\n{log}"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("bash -c 'echo bad; exit 3'", "exit status 3: bad"),
        ("bash -c 'echo step 5; kill -SEGV $$'", "killed by signal 11: step 5"),
        ("bash -c 'echo step 5; kill -KILL $$'", "killed by signal 9: step 5"),
    ],
)
def test_a_process_that_dies_says_so_at_once(line: str, error: str) -> None:
    before = time.time()
    with pytest.raises(RuntimeError, match=error):
        work(line)()
    death = Death(**read_json(death_file(Path("submitit"), "12", 1)))
    assert (death.error, death.log) == (error, "logs/a.rank1.log")
    assert death.seconds >= before


@pytest.mark.parametrize("line", ["bash -c 'kill -TERM $$'", "bash -c 'exit 75'"])
def test_an_interrupted_process_gives_slurm_time_before_it_counts_as_failed(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []
    monkeypatch.setattr(command, "_wait_for_slurm", waited.append)
    with pytest.raises(RuntimeError):
        work(line)()
    assert waited == [command.PATIENCE_SECONDS]


def running(hours: float, ran: float, timeouts: int = 1) -> Command:
    """A command whose stage has ended, so many seconds after its start."""
    one = work("true", hours=hours, timeouts=timeouts)
    one()
    one._started -= ran
    return one


@pytest.mark.parametrize(
    ("hours", "ran", "left"),
    [
        (0.1, 3, 1),  # submitit would count every signal under a limit of less than ten minutes
        (0.1, 239, 1 - 1),
        (0.1, 170, 1),
        (24, 23 * HOUR, 1),
        (24, 24 * HOUR - 125, 0),
    ],
)
def test_a_warning_counts_as_a_timeout_at_the_end_of_the_limit_alone(
    hours: float, ran: float, left: int
) -> None:
    again = running(hours, ran).checkpoint()
    assert isinstance(again, DelayedSubmission)
    assert again.function.timeouts == left


def test_one_timeout_too_many_is_said_in_words() -> None:
    last = running(0.1, 300, timeouts=0)
    with pytest.raises(RuntimeError, match=r"reached its time limit \(0.1 h\) .* raise `hours`"):
        last.checkpoint()
    assert isinstance(running(0.1, 3, timeouts=0).checkpoint(), DelayedSubmission)


def test_processes_of_this_machine_take_different_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_PROCID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []
    for name in ("a", "b"):
        Command("printenv CUDA_VISIBLE_DEVICES", str(Path.cwd()), f"{name}.log", HOUR, 120, 1)()
        seen.append(Path(f"{name}.log").read_text().strip())
    assert seen == ["4", "6"]
