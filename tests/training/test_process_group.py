import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch._dynamo  # noqa: F401  # DDP needs it: 3 s, which forked children then save
import torch.distributed as dist

from e2mc.errors import E2MCError
from e2mc.methods import Method
from e2mc.training.distributed import Place, find_place, over_ranks
from e2mc.training.process_group import PATIENCE, patience, process_group, refuse_shared_gpus
from tests.training.tiny import in_children, join, tiny_settings, train


def log_to(folder: Path) -> None:
    """Send what this process and its libraries complain about to `<rank>.log`."""
    log = (folder / f"{os.environ['RANK']}.log").open("w")
    os.dup2(log.fileno(), 2)
    sys.stderr = log


def fail_on_rank_one(folder: Path, error: BaseException) -> None:
    log_to(folder)
    # NCCL's waits for peers that are in a collective
    dist.destroy_process_group = lambda: time.sleep(600)
    with process_group(find_place()):
        if find_place().rank == 1:
            raise error
        time.sleep(600)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (E2MCError("no such image"), "e2mc: rank 1: no such image\n"),
        (RuntimeError("out of memory"), "RuntimeError: out of memory\n"),
    ],
)
def test_a_process_that_fails_is_gone_while_its_peers_wait(tmp_path, error, message):
    waiting, failing = in_children(fail_on_rank_one, tmp_path, error, processes=2)
    failing.join(60)
    assert failing.exitcode == 1
    assert waiting.is_alive()
    waiting.kill()
    waiting.join()
    assert (tmp_path / "1.log").read_text().endswith(message)
    assert ("Traceback" in (tmp_path / "1.log").read_text()) == (type(error) is RuntimeError)


def train_with_log(settings, folder: Path) -> None:
    log_to(folder)
    train(settings, folder)


def test_an_error_of_one_process_ends_a_training_and_frees_its_directory(
    images, tmp_path, monkeypatch
):
    def failing(method: Method, step: int, steps: int) -> None:
        if step == 2 and find_place().rank == 1:
            raise E2MCError("the disk is gone")

    monkeypatch.setattr(Method, "after_step", failing)
    settings = tiny_settings(images, "simsiam")
    join(in_children(train_with_log, settings, tmp_path, processes=2), status=1)
    assert "e2mc: rank 1: the disk is gone" in (tmp_path / "1.log").read_text()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["progress.json"]
    assert '"status": "failed"' in (tmp_path / "state/progress.json").read_text()


def test_a_process_that_hangs_ends_and_says_where(images, tmp_path, monkeypatch):
    def hanging(method: Method, step: int, steps: int) -> None:
        if step == 2 and find_place().rank == 1:
            signal.pause()

    monkeypatch.setattr(Method, "after_step", hanging)
    monkeypatch.setenv(PATIENCE, "3")
    settings = tiny_settings(images, "simsiam")
    join(in_children(train_with_log, settings, tmp_path, processes=2), status=1)
    assert "in hanging\n" in (tmp_path / "1.log").read_text()
    assert "in between_steps\n" in (tmp_path / "0.log").read_text()


@pytest.mark.parametrize("text", ["", "soon", "0", "-3", "nan", "inf"])
def test_a_patience_that_is_no_time_is_refused(monkeypatch, text):
    monkeypatch.setenv(PATIENCE, text)
    with pytest.raises(E2MCError, match=r"E2MC_PATIENCE_SECONDS is '.*more than 0"):
        patience()


def sum_in_slurm_step(folder: Path) -> None:
    """Under Slurm's environment, with one inherited from the process that submitted the job."""
    rank = os.environ["RANK"]
    os.environ |= {
        **{"SLURM_JOB_ID": "12", "SLURM_STEP_ID": "3", "SLURM_STEP_NODELIST": "127.0.0.1,node2"},
        **{"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": rank},
        **{"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"},
    }
    place = find_place()
    with process_group(place):
        (folder / rank).write_text(str(over_ranks(10 + place.rank, place)))


def be_rank_zero_of_two_other_jobs(ports: list[int], listening: Path) -> None:
    stores = [dist.TCPStore("127.0.0.1", port, is_master=True) for port in ports]
    for store in stores:
        store.set("12.4", "")
    listening.touch()
    signal.pause()


def test_processes_of_a_slurm_step_meet_although_ports_are_in_use(tmp_path):
    ports = [10000 + 7 * 12 + 3 + 6599 * attempt for attempt in range(2)]
    listening = tmp_path / "listening"
    (other,) = in_children(be_rank_zero_of_two_other_jobs, ports, listening, processes=1)
    while not listening.exists() and other.is_alive():
        time.sleep(0.01)
    assert other.is_alive()
    join(in_children(sum_in_slurm_step, tmp_path, processes=2))
    other.kill()
    other.join()
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["21", "21"]


def refused(gpus: list[str]) -> list[str]:
    """What each rank is told."""
    store = dist.HashStore()

    def told(rank: int) -> str:
        try:
            refuse_shared_gpus(store, Place(rank, len(gpus), rank), gpus[rank])
        except E2MCError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(gpus)) as ranks:
        return list(ranks.map(told, range(len(gpus))))


def test_two_processes_on_one_gpu_are_refused_by_name():
    assert refused(["a", "b", "c"]) == ["", "", ""]
    first, second, third = refused(["a", "b", "a"])
    assert "ranks 0 and 2 of 3 have the same GPU (a)" in first
    assert "ranks 2 and 0 of 3 have the same GPU (a)" in third
    assert second == ""
