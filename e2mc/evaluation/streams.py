"""Cached views on their way from the disk to the device that trains on them."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.gpus import settle_on_gpu

View = Callable[[int], NDArray[Any]]
"""Number of a view -> its features, (n, dim)."""

_HOST_BYTES = 8 * 2**30
"""Views that together need no more than this stay in a CPU's memory between epochs: jobs share it,
and a scheduler's limit for one of them cannot be asked for."""
_DEVICE_SHARE = 0.75
"""Of a GPU's free memory that views may stay in."""


class Views:
    """Training views, epoch by epoch, as tensors on the device.

    All of them stay there if there is room. Otherwise one at a time is there: a caller that keeps
    none lets the old view go before the new one comes. For a GPU the next view is read from disk
    while it trains on this one; a CPU has that work to do itself.

    Args:
        view: loads one view.
        number: how many there are; epoch e uses view e modulo that.
        epochs: how many epochs there will be.
        device: where they go.
        dtype: of the products; bfloat16 is kept as such, anything else as it is stored.
        ahead: read the next view in a thread; None: for a GPU.
    """

    def __init__(
        self,
        view: View,
        number: int,
        epochs: int,
        device: torch.device,
        dtype: torch.dtype,
        ahead: bool | None = None,
    ) -> None:
        self._view, self._number, self._epochs = view, number, epochs
        self._device, self._dtype = device, dtype
        self._room = room(device)
        self._kept: dict[int, Tensor] = {}
        ahead = device.type == "cuda" if ahead is None else ahead
        self._reader = ThreadPoolExecutor(max_workers=1) if ahead else None
        self._coming: tuple[int, Future[Tensor]] | None = None

    def epoch(self, epoch: int) -> Tensor:
        """All samples as an epoch sees them, (n, dim)."""
        number = epoch % self._number
        if number not in self._kept:
            features = self._read(number).to(self._device, non_blocking=True)
            if self._dtype == torch.bfloat16:
                features = converted(features, self._dtype)
            if self._number == 1 or features.nbytes * self._number <= self._room:
                self._kept[number] = features
        else:
            features = self._kept[number]
        self._read_ahead(epoch + 1)
        return features

    def _read(self, number: int) -> Tensor:
        coming, self._coming = self._coming, None
        if coming is not None and coming[0] == number:
            return coming[1].result()
        return self._load(number)

    def _load(self, number: int) -> Tensor:
        """A view in memory of its own, from which a GPU can copy while it works."""
        view = self._view(number)
        return pinned(view) if self._device.type == "cuda" else copied(view, torch.device("cpu"))

    def _read_ahead(self, epoch: int) -> None:
        number = epoch % self._number
        if self._reader is None or epoch >= self._epochs or number in self._kept:
            return
        self._coming = number, self._reader.submit(self._load, number)


def room(device: torch.device) -> int:
    """Bytes that views may stay in between epochs."""
    if device.type == "cuda":
        return int(_DEVICE_SHARE * torch.cuda.mem_get_info(device)[0])
    return _HOST_BYTES


def copied(array: NDArray[Any], device: torch.device) -> Tensor:
    """A tensor on the device, of memory of its own; a memory map is read here once, in order."""
    return torch.from_numpy(array if array.flags.owndata else np.array(array)).to(device)


def pinned(array: NDArray[Any]) -> Tensor:
    """A copy in memory that the system never moves; a memory map is read here once, in order."""
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    memory = torch.empty(array.shape, dtype=dtype, pin_memory=torch.cuda.is_available())
    np.copyto(memory.numpy(), array)
    return memory


def converted(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Features in the type of a product.

    Through float32 on the way to bfloat16: CPUs are ten times slower directly from float16.
    """
    return (features.float() if dtype == torch.bfloat16 else features).to(dtype)


def best_device() -> torch.device:
    """The GPU if there is one; of several one that no other job on this machine has."""
    settle_on_gpu()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
