"""Several gloo processes must give the loss and the gradients of one with the whole batch."""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import start_processes
from torch.nn.parallel import DistributedDataParallel

from e2mc.criteria import E2MC, gather_rows
from tests.criteria.test_every_criterion import FORMS


def gradients(network: nn.Module, inputs: list[Tensor], loss: Tensor) -> list[Tensor]:
    network.zero_grad()
    for view in inputs:
        view.grad = None
    loss.backward()
    return [p.grad for p in network.parameters()] + [view.grad for view in inputs]  # type: ignore[misc]


def check_criteria(rank: int, sizes: list[int]) -> None:
    """DDP over a linear layer: parameters as in one process, inputs world-size times as much."""
    torch.manual_seed(0)
    single = nn.Linear(6, 5, dtype=torch.float64)
    network = DistributedDataParallel(nn.Linear(6, 5, dtype=torch.float64))
    network.module.load_state_dict(single.state_dict())
    batch = [torch.randn(sum(sizes), 6, dtype=torch.float64) for _ in range(2)]
    start = sum(sizes[:rank])
    own = slice(start, start + sizes[rank])
    for form, make in FORMS.items():
        whole = [view.clone().requires_grad_() for view in batch]
        part = [view[own].clone().requires_grad_() for view in batch]
        alone, together = make(), make()
        alone.gather = False
        expected, actual = alone([single(v) for v in whole]), together([network(v) for v in part])
        close = {"rtol": 1e-6, "atol": 1e-12, "msg": lambda text, form=form: f"{form}: {text}"}
        torch.testing.assert_close(actual, expected, **close)
        one, many = gradients(single, whole, expected), gradients(network, part, actual)
        for a, b in zip(many[:2], one[:2], strict=True):
            torch.testing.assert_close(a, b, **close)
        for a, b in zip(many[2:], one[2:], strict=True):
            torch.testing.assert_close(a, len(sizes) * b[own], **close)


def check_refusal(rank: int, sizes: list[int]) -> None:
    """One rank's NaN raises everywhere, so that nobody waits in a collective."""
    z = torch.randn(sizes[rank], 4)
    z[0 if rank == 0 else slice(0, 0), 2] = torch.nan
    with pytest.raises(ValueError, match="view 0, column 2, row 0"):
        E2MC("hypercube", 1.0, 1.0)([z])
    local = E2MC("hypercube", 1.0, 1.0, gather=False)
    if rank == 1:
        assert local([z]).isfinite()


def check_second_derivative(rank: int, sizes: list[int]) -> None:
    """The penalty |gradient|^2 of gathered rows; each of three passes sums over the ranks."""
    torch.manual_seed(1)
    whole = torch.randn(sum(sizes), 4, dtype=torch.float64, requires_grad=True)
    start, ranks = sum(sizes[:rank]), len(sizes)
    part = whole.detach()[start : start + sizes[rank]].clone().requires_grad_()
    alone, together = (E2MC("hypercube", 1.0, 10.0, gather=gather) for gather in (False, True))
    (one,) = torch.autograd.grad(alone([whole]), whole, create_graph=True)
    (own,) = torch.autograd.grad(together([part]), part, create_graph=True)
    (expected,) = torch.autograd.grad(one.square().sum(), whole)
    (actual,) = torch.autograd.grad(gather_rows(own).square().sum(), part)
    torch.testing.assert_close(actual, ranks**3 * expected[start : start + sizes[rank]])


def work(rank: int, sizes: list[int], rendezvous: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=len(sizes)
    )
    try:
        check_criteria(rank, sizes)
        check_refusal(rank, sizes)
        check_second_derivative(rank, sizes)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("sizes", [[5, 8], [3, 2, 0, 6]], ids=["2 ranks", "4 ranks"])
def test_uneven_ranks_equal_one_process(sizes: list[int], tmp_path: Path) -> None:
    # a fork server imports torch once for all ranks
    multiprocessing.set_forkserver_preload(["torch._dynamo", "pytest"])
    start_processes(
        work,
        args=(sizes, str(tmp_path / "rendezvous")),
        nprocs=len(sizes),
        start_method="forkserver",
    )


def test_without_a_process_group_it_is_the_identity() -> None:
    x = torch.randn(3, 2)
    assert gather_rows(x) is x
