"""Batches of views, made by loader processes and handed over on the device."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Generic, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from e2mc.data.decode import Pixels, decode_sample
from e2mc.data.image_set import LabelledImages
from e2mc.errors import E2MCError
from e2mc.process import end_with_parent


class MadeViews(NamedTuple):
    """The views of one batch, and the indices of its corrupt images, which others stand in for."""

    views: list[Tensor]
    corrupt: list[int]


class ViewBatches(Dataset[MadeViews | E2MCError], Generic[Pixels]):
    """Batches of views; one item is one batch, so that a worker hands over whole tensors.

    Items have one (n, 3, size, size) uint8 tensor per view: normalised on the device, they cross
    from the worker at a quarter of the bytes. Each image is decoded once for all its views. An
    error comes back as an item: raised in a worker it would reach the user wrapped in a
    traceback.

    Args:
        images: data set.
        batches: indices of the images of each batch.
        decoder: of one file.
        make: (3, size, size) levels of every view of a decoded image, given with its index.
        skip_corrupt: put the next sound image in the place of a corrupt one, with the random
            decisions of that place; by default a corrupt image is an error.
    """

    def __init__(
        self,
        images: LabelledImages,
        batches: Sequence[NDArray[np.int64]],
        decoder: Callable[[Path], Pixels],
        make: Callable[[Pixels, int], Sequence[NDArray[np.uint8]]],
        skip_corrupt: bool = False,
    ) -> None:
        self.images, self.batches, self.decoder, self.make = images, batches, decoder, make
        self.skip_corrupt = skip_corrupt

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, batch: int) -> MadeViews | E2MCError:
        views, corrupt = [], []
        try:
            for index in self.batches[batch].tolist():
                image, found = decode_sample(self.images, index, self.skip_corrupt, self.decoder)
                views.append(self.make(image, index))
                if found != index:
                    corrupt.append(index)
        except E2MCError as error:
            return error
        stacks = [torch.from_numpy(np.stack(view)) for view in zip(*views, strict=True)]
        return MadeViews(stacks, corrupt)


def load(
    batches: ViewBatches[Any], first: int, workers: int, device: torch.device
) -> Iterator[MadeViews]:
    """Batches from `first` on, in order, on the device.

    There are no more loader processes than CPUs beside the one that trains.

    Raises:
        E2MCError: an image is missing, or corrupt where that is an error.
    """
    count = len(batches)
    workers = min(workers, count - first, max(1, usable_cpus() - 1))
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, count),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_leave_signals_to_the_parent,
        multiprocessing_context=_context() if workers else None,
        # Without a generator of its own the loader would draw a seed from torch's global one.
        generator=torch.Generator(),
    )
    for item in loader:
        if isinstance(item, E2MCError):
            raise item
        yield MadeViews([on_device(view, device) for view in item.views], item.corrupt)


def usable_cpus() -> int:
    """CPUs that this process may use, which a scheduler may have made fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def on_device(numbers: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A copy of the host's numbers on the device, for which the host does not wait.

    Without `non_blocking` it would wait for all that the device still has to do. Memory that is not
    pinned may change as soon as this returns: CUDA has it in a buffer of its own by then.
    """
    return numbers.to(device, dtype, non_blocking=True)


class _Worker(multiprocessing.Process):
    """A loader process. It ignores SIGTERM, so a worker stuck on a dead disk has to be killed."""

    def terminate(self) -> None:
        self.kill()


def _context() -> BaseContext:
    """The platform's own way to start processes, with the workers above."""
    context = copy(multiprocessing.get_context())
    context.Process = _Worker  # type: ignore[misc]
    return context


def _leave_signals_to_the_parent(worker: int) -> None:
    # A cluster signals every process of a job. The trainer saves its state and ends; a worker
    # that died of the same signal first would take the trainer down in the middle of a step.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # torch's workers look for their parent between two batches only, and may never get there.
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None:
        forked = multiprocessing.get_start_method() == "fork"
        end_with_parent(parent.pid if forked and parent.pid else os.getppid())
