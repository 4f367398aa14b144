"""Views of whole batches on the device, the images held in memory as bytes.

The same decisions as the Pillow pipeline (:mod:`e2mc.data.draws`) with the same arithmetic: crops
are resampled with Pillow's antialiased filters and blurs are Pillow's three box filters, both as
small matrices, one per image and axis. What differs is precision: Pillow rounds to whole grey
levels after every operation and its hue to 1/256 of a turn, this pipeline never rounds.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.experiment import Images
from e2mc.data.colour import HUE, blend_, gray, hue, solarize
from e2mc.data.decode import decode, decode_sample
from e2mc.data.draws import Draws, Recipe, draw
from e2mc.data.image_set import LabelledImages
from e2mc.data.loading import on_device
from e2mc.data.resampling import blur, resample, resampling
from e2mc.errors import E2MCError


class Pixels(NamedTuple):
    """Images in memory: (n, height, 3, width) uint8; and the indices of the corrupt ones.

    Rows are the outer axis and channels lie between rows and columns, so that both axes can be
    resampled by one batched matrix product each, without a copy between them.
    """

    levels: Tensor
    corrupt: NDArray[np.int64]


@lru_cache(maxsize=4)
def pixels(images: LabelledImages, skip_corrupt: bool = False) -> Pixels:
    """All images of a set, decoded once.

    Args:
        images: data set.
        skip_corrupt: let the next decodable image stand in for a corrupt one.

    Raises:
        E2MCError: the images differ in size, or one is missing, or corrupt where that is an error.
    """
    first, at = decode_sample(images, 0, skip_corrupt, decode)
    array = np.empty((len(images), first.height, 3, first.width), np.uint8)
    corrupt = []
    for index in range(len(images)):
        image, found = decode_sample(images, index, skip_corrupt, decode)
        if image.size != first.size:
            raise E2MCError(
                f"the tensor pipeline needs images of one size, but {images.path(found)} has "
                f"{image.width}x{image.height} pixels and {images.path(at)} has "
                f"{first.width}x{first.height}. Set `pipeline: pillow`, or resize the images"
            )
        if found != index:
            corrupt.append(index)
        array[index] = np.asarray(image).transpose(0, 2, 1)
    return Pixels(torch.from_numpy(array), np.array(corrupt, np.int64))


class TensorViews:
    """Makes batches of views from images in memory.

    Args:
        images: data set; decoded here.
        device: where the images are kept and the views are made.
        skip_corrupt: let the next decodable image stand in for a corrupt one.
    """

    def __init__(
        self, images: LabelledImages, device: torch.device, skip_corrupt: bool = False
    ) -> None:
        levels, self.corrupt = pixels(images, skip_corrupt)
        self.levels = levels.to(device)

    def __call__(
        self,
        indices: NDArray[np.int64],
        recipes: Sequence[Recipe],
        key: np.uint64,
        views: Sequence[int],
    ) -> list[Tensor]:
        """One (n, 3, size, size) float tensor in [0, 1] per recipe; arguments as for the draws.

        Views of one size are made together: for small images the time is in the number of calls.
        """
        batch = self.batch(indices)
        made: list[Tensor] = []
        for group in groups(recipes):
            chosen = [recipes[at] for at in group]
            numbers = np.repeat([views[at] for at in group], len(indices))
            samples = np.tile(indices, len(chosen))
            draws = draw(chosen, key, samples, numbers, batch.shape[1], batch.shape[3])
            made += tensor_views(batch, draws, chosen)
        return made

    def fixed(
        self, indices: NDArray[np.int64], sizes: Images, crop: Literal["center", "squash"]
    ) -> list[Tensor]:
        """The view that a model is tested on, as :func:`e2mc.data.pillow_views.fixed_view`."""
        batch = self.batch(indices)
        short = min(batch.shape[1], batch.shape[3])
        rows, columns = (
            on_device(_fixed_weights(side, short, sizes, crop), batch.device)
            for side in (batch.shape[1], batch.shape[3])
        )
        return [resample(batch, rows, columns).contiguous()]

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """Images as (n, height, 3, width) float in [0, 1]."""
        chosen = self.levels[on_device(torch.from_numpy(indices), self.levels.device)]
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


def groups(recipes: Sequence[Recipe]) -> Iterator[list[int]]:
    """Positions of consecutive recipes whose views can be made together."""

    def kind(at: int) -> tuple[int, str]:
        return recipes[at].size, recipes[at].interpolation

    for _, group in groupby(range(len(recipes)), key=kind):
        yield list(group)


def tensor_views(batch: Tensor, draws: Draws, recipes: Sequence[Recipe]) -> list[Tensor]:
    """Views of every image of a batch.

    The flip is folded into the crop wherever the recipe puts it: it commutes with all that
    follows.

    Args:
        batch: (n, height, 3, width) float in [0, 1].
        draws: random decisions, n for each recipe.
        recipes: of one size and interpolation.

    Returns:
        One (n, 3, size, size) float tensor in [0, 1] per recipe.
    """
    box = on_device(torch.from_numpy(draws.box.T), batch.device, torch.float32)
    top, left, height, width = box
    flip = on_device(torch.from_numpy(draws.flip), batch.device)
    size, interpolation = recipes[0].size, recipes[0].interpolation
    rows = resampling(top, height, batch.shape[1], size, interpolation).chunk(len(recipes))
    columns = resampling(left, width, batch.shape[3], size, interpolation, flip).chunk(len(recipes))
    crops = [resample(batch, *weights) for weights in zip(rows, columns, strict=True)]
    return coloured(crops, draws, recipes)


def coloured(crops: Sequence[Tensor], draws: Draws, recipes: Sequence[Recipe]) -> list[Tensor]:
    """All that follows the crop and the flip.

    Args:
        crops: (n, 3, size, size) float in [0, 1], one tensor per recipe.
        draws: random decisions, n for each recipe; boxes and flips are not used.
        recipes: of one size.

    Returns:
        One (n, 3, size, size) float tensor in [0, 1] per recipe.
    """
    view = _jittered(torch.cat(list(crops)), draws)
    _change(view, draws.gray, gray)
    largest = max(recipe.blur_radius[1] for recipe in recipes)
    _change(view, draws.blur, partial(blur, largest=largest), draws.radius)
    _change(view, draws.solarize, solarize)
    return list(view.chunk(len(recipes)))


def _jittered(view: Tensor, draws: Draws) -> Tensor:
    """Brightness, contrast, saturation and hue, in the order of each image."""
    turns = draws.factors[:, HUE]
    if not draws.jitter.any():
        return view
    ordered = np.take_along_axis(draws.factors, draws.order, axis=1)
    changes = torch.from_numpy(np.where(draws.jitter[:, None], ordered, 1.0))
    factors = on_device(changes, view.device, view.dtype)
    operations = on_device(torch.from_numpy(draws.order), view.device)
    for position in range(4):
        operation, factor = (each[:, position].view(-1, 1, 1, 1) for each in (operations, factors))
        blend_(view, operation, factor)
        chosen = draws.jitter & (draws.order[:, position] == HUE) & (turns != 0)
        _change(view, chosen, hue, turns)
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
    index = on_device(torch.from_numpy(rows), view.device)
    own = (
        on_device(torch.from_numpy(each[rows]), view.device, view.dtype).view(-1, 1, 1, 1)
        for each in values
    )
    view.index_copy_(0, index, operation(view.index_select(0, index), *own))
