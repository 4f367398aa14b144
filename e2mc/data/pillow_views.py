"""Views image by image, with the calls of the official code: Pillow through torchvision v1."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from e2mc.config.experiment import Images
from e2mc.data.decode import planes
from e2mc.data.draws import Draws, Recipe, draw
from e2mc.vision import torchvision

functional = torchvision.transforms.functional
MODES = {name: functional.InterpolationMode(name) for name in ("bilinear", "bicubic")}
_JITTER: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def pillow_view(image: Image.Image, draws: Draws, row: int, recipe: Recipe) -> Image.Image:
    """One view of a decoded image, every step in the order and with the calls of the originals.

    Args:
        image: RGB.
        draws: random decisions.
        row: which of them.
        recipe: of the view.
    """
    size = [recipe.size, recipe.size]
    top, left, height, width = (int(side) for side in draws.box[row])
    view: Image.Image = functional.resized_crop(
        image, top, left, height, width, size, MODES[recipe.interpolation]
    )
    if draws.flip[row] and recipe.flip == "after_crop":
        view = functional.hflip(view)
    if draws.jitter[row]:
        for operation in draws.order[row]:
            if recipe.jitter[operation] > 0:
                view = _JITTER[operation](view, float(draws.factors[row, operation]))
    if draws.gray[row]:
        view = functional.rgb_to_grayscale(view, num_output_channels=3)
    if draws.blur[row]:
        view = view.filter(ImageFilter.GaussianBlur(radius=float(draws.radius[row])))
    if draws.solarize[row]:
        view = ImageOps.solarize(view)
    if draws.flip[row] and recipe.flip == "last":
        view = functional.hflip(view)
    return view


def random_views(
    image: Image.Image,
    index: int,
    recipes: Sequence[Recipe],
    key: np.uint64,
    views: Sequence[int],
) -> list[NDArray[np.uint8]]:
    """Random views of one image, (3, size, size) levels each.

    Arguments as for :func:`e2mc.data.draws.draw`.
    """
    draws = draw(recipes, key, index, views, image.height, image.width)
    return [
        planes(np.asarray(pillow_view(image, draws, row, recipe)))
        for row, recipe in enumerate(recipes)
    ]


def fixed_view(
    image: Image.Image, sizes: Images, crop: Literal["center", "squash"]
) -> NDArray[np.uint8]:
    """The view that a model is tested on, (3, size, size) levels."""
    image = functional.resize(image, sizes.evaluation_resize)
    if crop == "squash":
        return planes(np.asarray(functional.resize(image, [sizes.size, sizes.size])))
    return planes(np.asarray(functional.center_crop(image, sizes.size)))
