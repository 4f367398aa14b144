"""Rows of all processes in one tensor, with gradient."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate the rows of every rank, in rank order; the identity without a process group.

    Backward sums over ranks the gradient of each gathered row and hands every rank its own
    rows, like FullGatherLayer of the official VICReg code. If all ranks compute the same loss
    from the gathered rows, that is world-size times the gradient of the full-batch loss, and
    DistributedDataParallel, which averages parameter gradients over ranks, turns it into exactly
    the gradient of one process with the whole batch. Without DDP, divide by the world size.

    Args:
        x: (n of this rank, d). Ranks may hold different numbers of rows, none included
            (FullGatherLayer needs equal numbers); d and dtype must agree.

    Returns:
        (n of all ranks, d), the same on every rank.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return x
    gathered: Tensor = _GatherRows.apply(x)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        count = torch.tensor([x.shape[0]], device=x.device)
        counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, count)
        sizes = [int(c) for c in counts]
        # gloo gathers equal shapes only, so shorter ranks are padded
        padded = x.new_zeros(max(sizes), x.shape[1])
        padded[: x.shape[0]] = x
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        ctx.start, ctx.rows = sum(sizes[: dist.get_rank()]), x.shape[0]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.rows]
