"""Which images make up which step, as a pure function of (seed, epoch)."""

import numpy as np
from numpy.typing import NDArray

from e2mc.data.draws import ORDER, hashed, stream
from e2mc.errors import E2MCError

LEAST_IMAGES = 2
"""A last step with fewer is left out: one image has no variance, in a loss or in BatchNorm.

The official scripts that keep the last step (VICReg, all evaluations) never meet that case.
"""


def steps_per_epoch(
    images: int, batch_size: int, drop_last: bool = False, least: int = LEAST_IMAGES
) -> int:
    """Steps of one epoch; arguments as those of :func:`epoch_batches`."""
    full, rest = divmod(images, batch_size)
    return full + (not drop_last and rest >= least)


def epoch_batches(
    indices: NDArray[np.int64],
    batch_size: int,
    seed: int,
    epoch: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = False,
    least: int = LEAST_IMAGES,
) -> list[NDArray[np.int64]]:
    """Indices of every batch of one process.

    All processes share one permutation, padded from its beginning to a multiple of
    `world_size` and dealt out one by one, as torch's ``DistributedSampler`` does. So step s
    holds the same images whatever the number of processes, padding aside.

    Args:
        indices: the images to go through, as indices into the data set.
        batch_size: images per step over all processes.
        seed: with `epoch`, decides the order.
        epoch: counted from the beginning of training.
        rank: of this process.
        world_size: number of processes.
        drop_last: leave out the last, partial step; by default it is kept, if it is large enough.
        least: images of all processes that a last step needs to be kept; 1 where nothing is made
            of a batch's variance.

    Raises:
        E2MCError: the batch cannot be shared equally, or not even one step is full.
    """
    if batch_size % world_size:
        raise E2MCError(f"batch_size {batch_size} cannot be shared by {world_size} processes")
    steps = steps_per_epoch(len(indices), batch_size, drop_last, least)
    if not steps:
        raise E2MCError(f"{len(indices)} images do not fill one batch of {batch_size}")
    order = np.argsort(hashed(stream(ORDER, seed, epoch), np.arange(len(indices))), kind="stable")
    padded = np.resize(order, -(-len(order) // world_size) * world_size)
    mine = indices[padded[rank::world_size]]
    share = batch_size // world_size
    return [mine[step * share : (step + 1) * share] for step in range(steps)]
