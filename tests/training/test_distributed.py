from pathlib import Path

import pytest
import torch
import torch._dynamo  # DDP needs it: 3 s, which forked children then save
from torch import nn

from e2mc.config.criteria import E2MC
from e2mc.config.methods import Optimizer
from e2mc.models import load_state
from e2mc.training.distributed import (
    Place,
    find_place,
    on_any_rank,
    parallel,
    synchronise_batch_norm,
)
from e2mc.training.optim import build_optimizer
from e2mc.training.process_group import first_host, process_group
from e2mc.training.run import build_run
from e2mc.training.step import loss_of
from tests.training.tiny import RESULTS, in_children, join, tiny_settings, train

COVARIANCE = E2MC(space="hypersphere", entropy_weight=0, covariance_weight=1)
"""Not the entropy: tied values, which so small a network has, take their gradient in row order."""


def three_steps_in_float64(images: Path, method: str, output: Path) -> None:
    """Write loss and weights after three steps on 8 rows; each process has its share of them."""
    place = find_place()
    with process_group(place):
        content = _three_steps(images, method, place)
    if place.rank == 0:
        torch.save(content, output)


def _three_steps(images: Path, method: str, place: Place) -> dict[str, object]:
    run = build_run(tiny_settings(images, method, COVARIANCE), None, place)
    run.module.double()
    network = parallel(run.module, place)
    optimizer = build_optimizer([{"params": run.module.parameters()}], Optimizer(), 0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        rows = torch.randn(2, 8, 3, 8, 8, dtype=torch.float64, generator=generator)
        views = [view[place.rank :: place.world_size] for view in rows]
        autocast = torch.autocast("cpu", enabled=False)
        loss, _ = loss_of(run, network, views, autocast, Path("state"))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"loss": loss.detach(), "weights": run.module.state_dict()}


@pytest.mark.parametrize("method", ["vicreg", "swav", "simsiam", "barlow_twins"])
def test_two_processes_do_what_one_does(images, tmp_path, method):
    join(in_children(three_steps_in_float64, images, method, tmp_path / "one", processes=1))
    join(in_children(three_steps_in_float64, images, method, tmp_path / "two", processes=2))
    one, two = torch.load(tmp_path / "one"), torch.load(tmp_path / "two")
    torch.testing.assert_close(one["loss"], two["loss"], rtol=1e-10, atol=1e-12)
    for content in (one, two):
        if "queue" in content["weights"]:  # the order of its rows means nothing
            content["weights"]["queue"] = content["weights"]["queue"].sort(dim=1).values
    for name, weight in one["weights"].items():
        torch.testing.assert_close(weight, two["weights"][name], rtol=1e-8, atol=1e-10)


def test_a_training_on_two_processes_does_what_one_does(images, tmp_path):
    settings = tiny_settings(images, "simsiam", COVARIANCE, epochs=2, learning_rate=0.01)
    for name, processes in (("one", 1), ("two", 2)):
        join(in_children(train, settings, tmp_path / name, processes=processes))
    one, two = (load_state(tmp_path / name / RESULTS[0]) for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def normalise_unequal_shares(output: Path) -> None:
    """Gradient and statistics of a synchronised BatchNorm over 2 + 5 rows, in float64."""
    place = find_place()
    with process_group(place):
        layer = synchronise_batch_norm(nn.Sequential(nn.BatchNorm2d(3).double()), place)
        x = torch.randn(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        x = 5 + 2 * x
        mine = x[:2] if place.rank == 0 else x[2:]
        mine.requires_grad_()
        layer(mine).pow(3).sum().backward()
        torch.save((mine.grad, layer.state_dict()), output.with_suffix(f".{place.rank}"))


def test_batch_norm_over_unequal_shares(tmp_path):
    join(in_children(normalise_unequal_shares, tmp_path / "shares", processes=2))
    layer = nn.Sequential(nn.BatchNorm2d(3).double())
    x = torch.randn(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (5 + 2 * x).requires_grad_()
    layer(x).pow(3).sum().backward()
    shares = [torch.load(tmp_path / f"shares.{rank}") for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([gradient for gradient, _ in shares]), x.grad)
    for _, state in shares:
        torch.testing.assert_close(state, layer.state_dict())


def clear(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


def test_alone(monkeypatch):
    clear(monkeypatch)
    monkeypatch.setenv("SLURM_NTASKS", "4")  # a batch script, not a step
    assert find_place() == Place(0, 1, 0)
    assert on_any_rank([True, False], find_place()) == [True, False]


def test_place_under_torchrun(monkeypatch):
    clear(monkeypatch)
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert find_place() == Place(5, 8, 1)


def test_place_in_a_slurm_step(monkeypatch):
    clear(monkeypatch)
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    assert find_place() == Place(3, 4, 1)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1"}.items():  # inherited
        monkeypatch.setenv(name, value)
    assert find_place() == Place(3, 4, 1)


def test_place_under_torchrun_that_srun_started_on_two_nodes(monkeypatch):
    clear(monkeypatch)
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
    own = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none"}
    for name, value in (step | own).items():
        monkeypatch.setenv(name, value)
    assert find_place() == Place(5, 8, 1)


def test_place_of_a_launcher_in_an_interactive_step(monkeypatch):
    clear(monkeypatch)
    step = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in (step | {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}).items():
        monkeypatch.setenv(name, value)
    assert find_place() == Place(1, 2, 1)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node7", "node7"),
        ("node7,node9", "node7"),
        ("node[07-09,12]", "node07"),
        ("gpu-a[3,5],cpu1", "gpu-a3"),
        ("rack[2-3]n[07,09].local,x1", "rack2n07.local"),
    ],
)
def test_first_host_of_a_node_list(nodes, host):
    assert first_host(nodes) == host
