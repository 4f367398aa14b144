"""Views image by image, several times as fast as with Pillow, and to within its rounding.

The decisions and the order of the operations are those of the Pillow pipeline; the operations are
torch's and OpenCV's:

- crop and resize: :func:`e2mc.data.resampling.resized`;
- brightness, contrast and saturation: one affine map of the three channels each, truncated as
  Pillow truncates;
- hue: HSV in 256 steps as Pillow's, but rounded where Pillow truncates;
- blur: Pillow's three box filters as one kernel, rounded once per axis instead of six times;
- grey and solarisation: as Pillow's.

tests/data/test_fast_views.py bounds the difference of each. Vector instructions differ between
processors, so the last level of a pixel may too; Pillow's does not.
"""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from e2mc.data.colour import CONTRAST, HUE, LUMA, SATURATION
from e2mc.data.decode import planes
from e2mc.data.device_views import crop
from e2mc.data.draws import Draws, Recipe, draw
from e2mc.data.resampling import box_radius
from e2mc.errors import E2MCError

try:
    import cv2
except ImportError as error:
    raise E2MCError(
        '`pipeline: fast` needs OpenCV, which is not installed: pip install "e2mc[fast]", or set '
        "`pipeline: pillow`"
    ) from error

cv2.setNumThreads(1)  # loader processes are the parallelism

Levels = NDArray[np.uint8]

_SAME = np.eye(3, 4)
_GRAY = np.array([[*LUMA, 0.0]] * 3)
"""Affine maps of the channels, (3, 4): the last column is added."""
_TRUNCATION = 0.499
"""Subtracted before OpenCV rounds, so that whole levels survive and fractions are cut off."""


def fast_view(levels: Levels, draws: Draws, row: int, recipe: Recipe) -> Levels:
    """One view of a decoded image.

    Args:
        levels: (height, width, 3).
        draws: random decisions.
        row: which of them.
        recipe: of the view.

    Returns:
        (3, size, size) levels.
    """
    view = crop(levels, draws, row, recipe)
    if draws.flip[row]:  # commutes with all that follows, wherever the recipe puts it
        view = cv2.flip(view, 1)
    if draws.jitter[row]:
        for operation in draws.order[row]:
            if recipe.jitter[operation] > 0:
                view = adjusted(view, operation, float(draws.factors[row, operation]))
    if draws.gray[row]:
        view = gray(view)  # one channel until the end: a third of the work
    if draws.blur[row]:
        view = blurred(view, float(draws.radius[row]))
    if draws.solarize[row]:
        view = cv2.min(view, cv2.bitwise_not(view))
    return np.stack([view] * 3) if view.ndim == 2 else planes(view)


def fast_views(
    levels: Levels,
    index: int,
    recipes: Sequence[Recipe],
    key: np.uint64,
    views: Sequence[int],
) -> list[Levels]:
    """Random views of one image, as :func:`e2mc.data.pillow_views.random_views`."""
    draws = draw(recipes, key, index, views, *levels.shape[:2])
    return [fast_view(levels, draws, row, recipe) for row, recipe in enumerate(recipes)]


def adjusted(view: Levels, operation: int, factor: float) -> Levels:
    """Brightness, contrast, saturation (by a factor) or hue (by turns) of (size, size, 3)."""
    if operation == HUE:
        return _hue_turned(view, factor)
    affine = factor * _SAME
    affine[:, 3] = -_TRUNCATION
    if operation == CONTRAST:
        affine[:, 3] += (1 - factor) * floor(np.dot(LUMA, cv2.mean(view)[:3]) + 0.5)
    elif operation == SATURATION:
        affine += (1 - factor) * _GRAY
    result: Levels = cv2.transform(view, affine)
    return result


def _hue_turned(view: Levels, turns: float) -> Levels:
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
    step = np.zeros((len(hsv), 3), np.uint8)
    step[:, 0] = int(turns * 255) % 256  # torchvision's 255, though the circle has 256 steps
    lines = hsv.reshape(len(hsv), -1)
    lines += step.reshape(-1)
    result: Levels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    return result


def gray(view: Levels) -> Levels:
    """Luma (size, size) of (size, size, 3)."""
    result: Levels = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    return result


def blurred(view: Levels, radius: float) -> Levels:
    """Gaussian blur of this standard deviation, of (size, size) or (size, size, 3)."""
    kernel = box_kernel(radius)
    result: Levels = cv2.sepFilter2D(view, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return result


def box_kernel(radius: float) -> NDArray[np.float64]:
    """Pillow's three box filters in one kernel, exactly symmetric: OpenCV then halves its work."""
    half = box_radius(radius)
    once = np.clip(half + 1 - np.abs(np.arange(-ceil(half), ceil(half) + 1)), 0, 1)
    thrice = np.convolve(np.convolve(once, once), once)
    kernel: NDArray[np.float64] = (thrice + thrice[::-1]) / (2 * thrice.sum())
    return kernel
