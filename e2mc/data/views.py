"""The random views that models are trained on."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.experiment import Images
from e2mc.config.methods import Views
from e2mc.data.decode import decode, decode_levels
from e2mc.data.draws import TRAINING, recipes, stream
from e2mc.data.image_set import ImageSet
from e2mc.data.loading import ViewBatches, load, on_device
from e2mc.data.sampling import epoch_batches, steps_per_epoch

__all__ = ["TrainingViews", "normalised", "steps_per_epoch"]

MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's channels, in every official script."""
_CACHED = 2**18
"""Numbers of float32 that fit well into a core's second cache: a megabyte."""


def normalised(views: Tensor, std: tuple[float, float, float]) -> Tensor:
    """Views as a network sees them: uint8 levels or floats in [0, 1] to standardised float32."""
    mean, deviation = on_device(torch.tensor([MEAN, std]), views.device).view(2, 3, 1, 1)
    levels, result = views.dtype == torch.uint8, torch.empty_like(views, dtype=torch.float32)
    # A few images at a time: on a CPU they then stay in its cache from one operation to the next.
    images = max(1, _CACHED // views[0].numel()) if views.device.type == "cpu" else len(views)
    for part, source in zip(torch.split(result, images), torch.split(views, images), strict=True):
        part.copy_(source)
        if levels:
            part.div_(255)
        part.sub_(mean).div_(deviation)
    return result


class TrainingViews:
    """Batches of random views; epochs can be entered at any step without any stored state.

    Args:
        image_set: the images.
        views: recipe of the views.
        images: their sizes.
        batch_size: images per step over all processes.
        seed: of the order and of the views.
        workers: loader processes of all pipelines but `tensor`; changes nothing but the speed.
        device: where views are handed over, and where `tensor` makes and `device` colours them.
        rank: of this process.
        world_size: number of processes; each gets `batch_size / world_size` images per step.
        drop_last: leave out the last, partial step (official SwAV and SimSiam); by default it
            is kept (official VICReg, and every evaluation) unless it has one image.
        indices: train on these images only.
        skip_corrupt: let the next decodable image of `image_set` stand in for a corrupt one, and
            say so; by default a corrupt image is an error.

    Attributes:
        corrupt: how many images of the step handed out last were corrupt, in this process.

    Raises:
        E2MCError: `tensor` pipeline with images of several sizes; `fast` without OpenCV; a corrupt
            image.
    """

    def __init__(
        self,
        image_set: ImageSet,
        views: Views,
        images: Images,
        batch_size: int,
        seed: int,
        workers: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        indices: NDArray[np.int64] | None = None,
        skip_corrupt: bool = False,
    ) -> None:
        self.image_set, self.std = image_set, views.normalization_std
        self.recipes = recipes(views, images)
        self.batch_size, self.seed, self.workers, self.device = batch_size, seed, workers, device
        self.rank, self.world_size, self.drop_last = rank, world_size, drop_last
        self.indices = np.arange(len(image_set)) if indices is None else indices
        self.pipeline, self.skip_corrupt = views.pipeline, skip_corrupt
        self.corrupt = 0
        self._told: set[int] = set()

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return steps_per_epoch(len(self.indices), self.batch_size, self.drop_last)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Steps of one epoch, from `first_step` on.

        Yields:
            The views, full ones first, each (n, 3, size, size) float32, normalised; and the
            labels (n,) int64; both on the device.

        Raises:
            E2MCError: an image is corrupt; the message names it.
        """
        batches = epoch_batches(
            self.indices,
            self.batch_size,
            self.seed,
            epoch,
            rank=self.rank,
            world_size=self.world_size,
            drop_last=self.drop_last,
        )
        made = self._views(batches, epoch, first_step)
        for batch, (views, corrupt) in zip(batches[first_step:], made, strict=True):
            self._tell(corrupt)
            labels = on_device(torch.from_numpy(self.image_set.labels[batch]), self.device)
            yield [normalised(view, self.std) for view in views], labels

    def _views(
        self, batches: list[NDArray[np.int64]], epoch: int, first_step: int
    ) -> Iterator[tuple[list[Tensor], Sequence[int]]]:
        """The views of each step, and the indices of its corrupt images."""
        key, numbers = stream(TRAINING, self.seed, epoch), range(len(self.recipes))
        if self.pipeline == "tensor":
            from e2mc.data.tensor_views import TensorViews

            make = TensorViews(self.image_set, self.device, self.skip_corrupt)
            for batch in batches[first_step:]:
                corrupt = batch[np.isin(batch, make.corrupt)].tolist()
                yield make(batch, self.recipes, key, numbers), corrupt
            return
        decoder, maker = _maker(self.pipeline)
        make_one = partial(maker, recipes=self.recipes, key=key, views=numbers)
        source = ViewBatches(self.image_set, batches, decoder, make_one, self.skip_corrupt)
        made = load(source, first_step, self.workers, self.device)
        if self.pipeline != "device":
            yield from made
            return
        from e2mc.data.device_views import colour

        for batch, (crops, corrupt) in zip(batches[first_step:], made, strict=True):
            yield colour(crops, batch, self.recipes, key, numbers), corrupt

    def _tell(self, corrupt: Sequence[int]) -> None:
        self.corrupt = len(corrupt)
        for index in set(corrupt) - self._told:
            print(
                f"WARNING: cannot decode image {self.image_set.path(index)}: the next one that is "
                "sound takes its place (data.corrupt_images: skip)",
                file=sys.stderr,
                flush=True,
            )
        self._told.update(corrupt)


def _maker(
    pipeline: Literal["pillow", "fast", "device"],
) -> tuple[Callable[[Path], Any], Callable[..., Sequence[NDArray[np.uint8]]]]:
    """Decoder and maker of the views of one image; only what is used is imported."""
    if pipeline == "pillow":
        from e2mc.data.pillow_views import random_views

        return decode, random_views
    if pipeline == "fast":
        from e2mc.data.fast_views import fast_views

        return decode_levels, fast_views
    from e2mc.data.device_views import crops

    return decode_levels, crops
