"""Views of whole batches on the device, the images held in memory as bytes.

The same decisions as the Pillow pipeline (:mod:`e2mc.data.draws`) with the same arithmetic: crops
are resampled with Pillow's antialiased filters and blurs are Pillow's three box filters, both as
small matrices, one per image and axis. What differs is precision: Pillow rounds to whole grey
levels after every operation and its hue to 1/256 of a turn, this pipeline never rounds.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.experiment import Images
from e2mc.data.colour import JITTER, gray, solarize
from e2mc.data.decode import decode
from e2mc.data.draws import Draws, Recipe, draw
from e2mc.data.image_set import LabelledImages
from e2mc.data.resampling import blur, resample, resampling
from e2mc.errors import E2MCError


@lru_cache(maxsize=4)
def pixels(images: LabelledImages) -> Tensor:
    """All images of a set, decoded once: (n, height, 3, width) uint8.

    Rows are the outer axis and channels lie between rows and columns, so that both axes can be
    resampled by one batched matrix product each, without a copy between them.

    Raises:
        E2MCError: the images differ in size, or one cannot be decoded.
    """
    first = decode(images.path(0))
    array = np.empty((len(images), first.height, 3, first.width), np.uint8)
    for index in range(len(images)):
        image = decode(images.path(index))
        if image.size != first.size:
            raise E2MCError(
                f"the tensor pipeline needs images of one size, but {images.path(index)} has "
                f"{image.width}x{image.height} pixels and {images.path(0)} has "
                f"{first.width}x{first.height}. Set `pipeline: pillow`, or resize the images"
            )
        array[index] = np.asarray(image).transpose(0, 2, 1)
    return torch.from_numpy(array)


class TensorViews:
    """Makes batches of views from images in memory.

    Args:
        images: data set; decoded here.
        device: where the images are kept and the views are made.
    """

    def __init__(self, images: LabelledImages, device: torch.device) -> None:
        self.pixels = pixels(images).to(device)

    def __call__(
        self,
        indices: NDArray[np.int64],
        recipes: Sequence[Recipe],
        key: np.uint64,
        views: Sequence[int],
    ) -> list[Tensor]:
        """One (n, 3, size, size) float tensor in [0, 1] per recipe; arguments as for the draws."""
        batch = self.batch(indices)
        height, width = batch.shape[1], batch.shape[3]
        return [
            tensor_view(batch, draw([recipe], key, indices, view, height, width), recipe)
            for recipe, view in zip(recipes, views, strict=True)
        ]

    def fixed(
        self, indices: NDArray[np.int64], sizes: Images, crop: Literal["center", "squash"]
    ) -> list[Tensor]:
        """The view that a model is tested on, as :func:`e2mc.data.pillow_views.fixed_view`."""
        batch = self.batch(indices)
        short = min(batch.shape[1], batch.shape[3])
        rows, columns = (
            _fixed_weights(side, short, sizes, crop).to(batch.device)
            for side in (batch.shape[1], batch.shape[3])
        )
        return [resample(batch, rows, columns)]

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """Images as (n, height, 3, width) float in [0, 1]."""
        chosen = self.pixels[torch.from_numpy(indices).to(self.pixels.device)]
        return chosen.to(torch.float32).div_(255)


def _fixed_weights(
    side: int, short: int, sizes: Images, crop: Literal["center", "squash"]
) -> Tensor:
    """Weights (1, size, side) of the resize of the shorter side, then of the crop or squash."""
    resized = sizes.evaluation_resize * side // short
    weights = _whole(side, resized)
    if crop == "squash":
        return _whole(resized, sizes.size) @ weights
    first = round((resized - sizes.size) / 2)
    return weights[:, first : first + sizes.size]


def _whole(source: int, size: int) -> Tensor:
    return resampling(torch.zeros(1), torch.full((1,), float(source)), source, size, "bilinear")


def tensor_view(batch: Tensor, draws: Draws, recipe: Recipe) -> Tensor:
    """One view of every image of a batch.

    The flip is folded into the crop wherever the recipe puts it: it commutes with all that
    follows.

    Args:
        batch: (n, height, 3, width) float in [0, 1].
        draws: n random decisions.
        recipe: of the view.

    Returns:
        (n, 3, size, size) float in [0, 1].
    """
    top, left, height, width = torch.from_numpy(draws.box.T).to(batch.device, torch.float32)
    flip = torch.from_numpy(draws.flip).to(batch.device)
    size, interpolation = recipe.size, recipe.interpolation
    rows = resampling(top, height, batch.shape[1], size, interpolation)
    columns = resampling(left, width, batch.shape[3], size, interpolation, flip)
    view = resample(batch, rows, columns)
    for position in range(4):
        for operation, adjust in enumerate(JITTER):
            if recipe.jitter[operation] > 0:
                chosen = draws.jitter & (draws.order[:, position] == operation)
                _change(view, chosen, adjust, draws.factors[:, operation])
    _change(view, draws.gray, gray)
    _change(view, draws.blur, blur, draws.radius)
    _change(view, draws.solarize, solarize)
    return view


def _change(
    view: Tensor,
    chosen: NDArray[np.bool_],
    operation: Callable[..., Tensor],
    *values: NDArray[np.float64],
) -> None:
    """Apply an operation, in place, to the chosen images with their own values."""
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return
    index = torch.from_numpy(rows).to(view.device)
    own = (torch.from_numpy(each[rows]).to(view).view(-1, 1, 1, 1) for each in values)
    view.index_copy_(0, index, operation(view.index_select(0, index), *own))
