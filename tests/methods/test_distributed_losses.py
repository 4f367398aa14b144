"""Several gloo processes must give the loss and the gradients of one with the whole batch."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import start_processes
from torch.nn.parallel import DistributedDataParallel

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone
from e2mc.methods.barlow_twins import barlow_twins_loss
from e2mc.methods.simsiam import simsiam_loss
from e2mc.methods.swav import SwAV, sinkhorn, swav_loss
from e2mc.methods.vicreg import vicreg_loss

LOSSES: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "vicreg": lambda z: vicreg_loss(z[0], z[1]),
    "swav": lambda z: swav_loss([view.tanh() for view in z]),
    "barlow_twins": lambda z: barlow_twins_loss(z[0], z[1]),
    "simsiam": lambda z: simsiam_loss(z[0], z[1], z[2], z[3]),
}
BATCHES = 4


def swav() -> SwAV:
    """A linear trunk without BatchNorm, whose statistics would differ between processes."""
    torch.manual_seed(0)
    recipe = recipes.SwAV(projector=(6, 6), prototypes=5, queue_length=12)
    module = SwAV(recipe, Backbone(layers=(1, 1, 1, 1), width=2, stem="cifar"))
    module.backbone = nn.Flatten()  # type: ignore[assignment]
    module.projector = nn.Linear(12, 6)
    return module.double()


def batches(rows: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        [torch.randn(rows, 3, 2, 2, dtype=torch.float64, generator=generator) for _ in range(4)]
        for _ in range(BATCHES)
    ]


def expectations(rows: int, folder: Path) -> None:
    """What one process computes, before any process group exists."""
    results: dict[str, object] = {}
    torch.manual_seed(0)
    network = nn.Linear(12, 6, dtype=torch.float64)
    views = [view.flatten(1) for view in batches(rows)[0]]
    for name, loss in LOSSES.items():
        network.zero_grad()
        value = loss([network(view) for view in views])
        value.backward()
        results[name] = (value.detach(), [p.grad.clone() for p in network.parameters()])  # type: ignore[union-attr]
    results["sinkhorn"] = sinkhorn(network(views[0]))
    results["network"] = network.state_dict()
    module, values = swav(), []
    for batch in batches(rows):
        module.zero_grad()
        step = module(batch)
        step.loss.backward()
        values.append(step.loss.detach())
    gradients = [p.grad for p in module.parameters()]
    results["queue"] = (values, gradients, module.queue)
    torch.save(results, folder / "expected.pt")


def check(rank: int, sizes: list[int], folder: Path) -> None:
    expected = torch.load(folder / "expected.pt")
    own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    close = {"rtol": 1e-6, "atol": 1e-12}
    network = DistributedDataParallel(nn.Linear(12, 6, dtype=torch.float64))
    network.module.load_state_dict(expected["network"])
    views = [view.flatten(1)[own] for view in batches(sum(sizes))[0]]
    for name, loss in LOSSES.items():
        network.zero_grad()
        value = loss([network(view) for view in views])
        value.backward()
        torch.testing.assert_close(value.detach(), expected[name][0], **close)
        gradients = [p.grad for p in network.parameters()]
        torch.testing.assert_close(gradients, expected[name][1], **close)
    q = sinkhorn(network(views[0]))
    torch.testing.assert_close(q, expected["sinkhorn"][own], **close)

    module = DistributedDataParallel(swav())
    values, gradients, queue = expected["queue"]
    for batch, value in zip(batches(sum(sizes)), values, strict=True):
        module.zero_grad()
        step = module([view[own] for view in batch])
        step.loss.backward()
        torch.testing.assert_close(step.loss.detach(), value, **close)
    torch.testing.assert_close([p.grad for p in module.parameters()], gradients, **close)
    torch.testing.assert_close(module.module.queue, queue, **close)


def work(rank: int, sizes: list[int], folder: Path) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=len(sizes))
    try:
        check(rank, sizes, folder)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("sizes", [[4, 4], [2, 1, 3, 2]], ids=str)
def test_processes_agree_with_one(sizes: list[int], tmp_path: Path) -> None:
    expectations(sum(sizes), tmp_path)
    # a fork server imports torch once for all ranks
    multiprocessing.set_forkserver_preload(["torch._dynamo", "pytest"])
    start_processes(work, args=(sizes, tmp_path), nprocs=len(sizes), start_method="forkserver")
