"""Several processes: who am I, what do we know together, and BatchNorm over all of us."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from e2mc.criteria.rows import at_least_float32
from e2mc.gpus import settle_on_gpu


class Place(NamedTuple):
    """This process among all of a run."""

    rank: int
    world_size: int
    local_rank: int

    @property
    def device(self) -> torch.device:
        """A GPU of its own, or the CPU."""
        if torch.cuda.is_available():
            return torch.device("cuda", self.local_rank % torch.cuda.device_count())
        return torch.device("cpu")


def find_place() -> Place:
    """From that of an srun step, else from torchrun's environment, else alone.

    Alone among several GPUs it takes one that no other job on this machine has.
    """
    settle_on_gpu()
    environment = os.environ
    if of_srun():
        return Place(
            int(environment["SLURM_PROCID"]),
            int(environment["SLURM_STEP_NUM_TASKS"]),
            int(environment["SLURM_LOCALID"]),
        )
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Place(
            int(environment["RANK"]),
            int(environment["WORLD_SIZE"]),
            int(environment.get("LOCAL_RANK", "0")),
        )
    return Place(0, 1, 0)


def of_srun() -> bool:
    """Whether srun started several of us: RANK and its kind are then somebody else's, inherited.

    SLURM_NTASKS says nothing: it is set in a batch script too, where one process runs. torchrun,
    of which srun may start one on each node, gives its processes places of its own.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    return tasks > 1 and "TORCHELASTIC_RUN_ID" not in os.environ


def on_any_rank(flags: Sequence[bool], place: Place) -> list[bool]:
    """Which flags are raised on at least one rank: every rank learns the same."""
    if place.world_size == 1:
        return list(flags)
    raised = torch.tensor(flags, dtype=torch.int32, device=place.device)
    dist.all_reduce(raised, dist.ReduceOp.MAX)
    return [bool(flag) for flag in raised.tolist()]


def over_ranks(number: int, place: Place) -> int:
    """The sum of all ranks' numbers, on every rank."""
    if place.world_size == 1:
        return number
    total = torch.tensor(number, dtype=torch.int64, device=place.device)
    dist.all_reduce(total)
    return int(total)


def from_rank_zero(number: int, place: Place) -> int:
    """Rank 0's number, on every rank."""
    if place.world_size == 1:
        return number
    shared = torch.tensor(number, dtype=torch.int64, device=place.device)
    dist.broadcast(shared, 0)
    return int(shared)


def parallel(module: nn.Module, place: Place) -> nn.Module:
    """The module with gradients averaged over processes; itself if it is alone.

    Buffers are not broadcast before every step: those of synchronised BatchNorm and of SwAV's queue
    are equal by themselves; of any others those of rank 0 count, which a broadcast leaves alone.
    """
    if place.world_size == 1:
        return module
    from torch.nn.parallel import DistributedDataParallel

    devices = [place.device] if place.device.type == "cuda" else None
    network = DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)
    network.broadcast_buffers = False  # as an argument it is deprecated, its successor new
    return network


def synchronise_batch_norm(module: nn.Module, place: Place) -> nn.Module:
    """Let every BatchNorm of the module see the batches of all processes.

    On GPUs these are torch's `SyncBatchNorm`, which does not run on CPUs; there
    `SynchronisedBatchNorm` stands in. Parameters, buffers and their names stay.
    """
    if place.world_size == 1:
        return module
    if place.device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.__class__ = SynchronisedBatchNorm
    return module


class SynchronisedBatchNorm(_BatchNorm):
    """BatchNorm whose training statistics are those of all processes' rows, with gradient."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, channels, ...); processes may hold different n."""
        if not self.training:
            return super().forward(x)
        wide = at_least_float32(x)
        dimensions = [0, *range(2, x.ndim)]
        shape = [1, -1, *([1] * (x.ndim - 2))]
        count = wide.new_tensor([x.numel() / x.shape[1]])
        sums = _all_reduce(torch.cat([wide.sum(dimensions), count]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = wide - mean.view(shape)
        # a second reduction, because the difference of E[x^2] and E[x]^2 cancels
        variance = _all_reduce(centred.square().sum(dimensions)) / count
        self._update(mean.detach(), variance.detach() * count / (count - 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(x.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(unbiased_variance.to(self.running_var), self.momentum)


def _all_reduce(x: Tensor) -> Tensor:
    reduced: Tensor = _AllReduce.apply(x)  # type: ignore[no-untyped-call]
    return reduced


class _AllReduce(torch.autograd.Function):
    """Sum over ranks; backward sums the gradients of all ranks' losses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
