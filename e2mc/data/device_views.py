"""Views of photographs in two halves: cut by loader processes, coloured on the device.

A worker decodes an image, cuts and resizes its crops and hands over bytes; images may differ in
size, the crops of a batch do not. Jitter, grey, blur and solarisation then run over whole batches
with the operations of the tensor pipeline. The decisions are those of every other pipeline: all
but the crop's box depend on no image size, so the device draws them again by itself.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.experiment import Images
from e2mc.data.decode import planes
from e2mc.data.draws import Draws, Recipe, draw
from e2mc.data.resampling import resized
from e2mc.data.tensor_views import coloured, groups


def crops(
    levels: NDArray[np.uint8],
    index: int,
    recipes: Sequence[Recipe],
    key: np.uint64,
    views: Sequence[int],
) -> list[NDArray[np.uint8]]:
    """The worker's half: crops of one image, resized and flipped, (3, size, size) levels each.

    The flip can come first wherever the recipe puts it: it commutes with all that follows.

    Args:
        levels: (height, width, 3).
        index: of the image.
        recipes: of the views.
        key: of the draws.
        views: number of each view.
    """
    draws = draw(recipes, key, index, views, *levels.shape[:2])
    cut = [crop(levels, draws, row, recipe) for row, recipe in enumerate(recipes)]
    return [
        planes(view[:, ::-1] if mirrored else view)
        for view, mirrored in zip(cut, draws.flip, strict=True)
    ]


def crop(levels: NDArray[np.uint8], draws: Draws, row: int, recipe: Recipe) -> NDArray[np.uint8]:
    """One crop of an image (height, width, 3), resized: (size, size, 3)."""
    top, left, height, width = draws.box[row]
    part = levels[top : top + height, left : left + width]
    return resized(part, recipe.size, recipe.size, recipe.interpolation)


def fixed_crop(
    levels: NDArray[np.uint8], sizes: Images, crop: Literal["center", "squash"]
) -> NDArray[np.uint8]:
    """The view that a model is tested on, as :func:`e2mc.data.pillow_views.fixed_view`."""
    sides, size = levels.shape[:2], sizes.size
    height, width = (sizes.evaluation_resize * side // min(sides) for side in sides)
    view = resized(levels, height, width, "bilinear")
    if crop == "squash":
        view = resized(view, size, size, "bilinear")
    else:
        top, left = round((height - size) / 2), round((width - size) / 2)
        view = view[top : top + size, left : left + size]
    return planes(view)


def colour(
    made: Sequence[Tensor],
    indices: NDArray[np.int64],
    recipes: Sequence[Recipe],
    key: np.uint64,
    views: Sequence[int],
) -> list[Tensor]:
    """The device's half, over whole batches.

    Args:
        made: (n, 3, size, size) levels of the crops, one tensor per view.
        indices: (n,) of the images.
        recipes: of the views.
        key: of the draws.
        views: number of each view.

    Returns:
        One (n, 3, size, size) float tensor in [0, 1] per view.
    """
    finished: list[Tensor] = []
    for group in groups(recipes):
        chosen = [recipes[at] for at in group]
        samples = np.tile(indices, len(group))
        numbers = np.repeat([views[at] for at in group], len(indices))
        draws = draw(chosen, key, samples, numbers, 1, 1)
        crops = [made[at].to(torch.float32).div_(255) for at in group]
        finished += coloured(crops, draws, chosen)
    return finished
