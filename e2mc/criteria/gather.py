"""Rows of all processes in one tensor, with gradient."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rows_per_rank(x: Tensor) -> list[int] | None:
    """How many rows each rank holds, in rank order; None without a process group.

    Between several GPUs this waits for the device, as the shape of what follows depends on it.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    count = torch.tensor([x.shape[0]], device=x.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    return [int(c) for c in torch.cat(counts).tolist()]


def gather_rows(x: Tensor, sizes: list[int] | None = None) -> Tensor:
    """Concatenate the rows of every rank, in rank order; the identity without a process group.

    Backward sums over ranks the gradient of each gathered row and hands every rank its own
    rows, like FullGatherLayer of the official VICReg code. If all ranks compute the same loss
    from the gathered rows, that is world-size times the gradient of the full-batch loss, and
    DistributedDataParallel, which averages parameter gradients over ranks, turns it into exactly
    the gradient of one process with the whole batch. Without DDP, divide by the world size.

    Args:
        x: (n of this rank, d). Ranks may hold different numbers of rows, none included
            (FullGatherLayer needs equal numbers); d and dtype must agree.
        sizes: what `rows_per_rank` says, to ask only once for several tensors.

    Returns:
        (n of all ranks, d), the same on every rank.
    """
    sizes = sizes or rows_per_rank(x)
    if sizes is None:
        return x
    gathered: Tensor = _GatherRows.apply(x, sizes)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    """Transpose of `_SumOwnRows`, so that each is the other's derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        # gloo gathers equal shapes only, so shorter ranks are padded
        padded = x.new_zeros(max(sizes), x.shape[1])
        padded[: x.shape[0]] = x
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own: Tensor = _SumOwnRows.apply(gradient, ctx.sizes)  # type: ignore[no-untyped-call]
        return own, None


class _SumOwnRows(torch.autograd.Function):
    """The sum over ranks of (n of all ranks, d), of which each rank gets its own rows."""

    @staticmethod
    def forward(ctx: Any, gathered: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        total = gathered.contiguous().clone()
        dist.all_reduce(total)
        start, own = sum(sizes[: dist.get_rank()]), sizes[dist.get_rank()]
        return total[start : start + own]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gathered: Tensor = _GatherRows.apply(gradient, ctx.sizes)  # type: ignore[no-untyped-call]
        return gathered, None
