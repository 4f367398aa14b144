"""Everything random about the views, as a pure function of (seed, epoch, sample, view).

Both pipelines take their decisions from here, so they make the same views of the same images, and
no worker, batch size, number of processes or interruption changes any of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2mc.config.experiment import Images
from e2mc.config.methods import Views
from e2mc.errors import E2MCError

ORDER, TRAINING, EVALUATION = range(3)
"""Purposes: the first word of every key, so that no two streams share their numbers."""

_ATTEMPTS = 10
_RATIO = (3 / 4, 4 / 3)
_COLUMNS = 2 * _ATTEMPTS + 16


@dataclass(frozen=True)
class Recipe:
    """How one view is made; fields as in :class:`e2mc.config.methods.Views`."""

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    flip: Literal["after_crop", "last"] = "after_crop"
    flip_probability: float = 0.5
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: float = 0.0
    gray_probability: float = 0.0
    blur_probability: float = 0.0
    blur_radius: tuple[float, float] = (0.1, 2.0)
    solarize_probability: float = 0.0


class Draws(NamedTuple):
    """The random decisions behind n views.

    Attributes:
        box: (n, 4) integers: top, left, height, width of the crop.
        flip: (n,) mirror left and right.
        jitter: (n,) apply the colour jitter.
        order: (n, 4) order of brightness 0, contrast 1, saturation 2, hue 3.
        factors: (n, 4) brightness, contrast and saturation factors, hue shift in turns.
        gray: (n,) drop the colour.
        blur: (n,) blur.
        radius: (n,) standard deviation of the blur in pixels.
        solarize: (n,) invert the bright pixels.
    """

    box: NDArray[np.int64]
    flip: NDArray[np.bool_]
    jitter: NDArray[np.bool_]
    order: NDArray[np.int64]
    factors: NDArray[np.float64]
    gray: NDArray[np.bool_]
    blur: NDArray[np.bool_]
    radius: NDArray[np.float64]
    solarize: NDArray[np.bool_]


def recipes(views: Views, images: Images) -> list[Recipe]:
    """One recipe per view: the full ones, then the small ones.

    Raises:
        E2MCError: a per-view probability has neither one value nor one per full view.
    """
    shared = {
        name: getattr(views, name)
        for name in (
            "interpolation",
            "flip",
            "flip_probability",
            "jitter",
            "jitter_probability",
            "gray_probability",
            "blur_radius",
        )
    }
    blur = _per_view(views.blur_probability, views.full_views, "blur_probability")
    solarize = _per_view(views.solarize_probability, views.full_views, "solarize_probability")
    full = [
        Recipe(
            size=images.size,
            scale=views.scale,
            blur_probability=blur[view],
            solarize_probability=solarize[view],
            **shared,
        )
        for view in range(views.full_views)
    ]
    small = Recipe(
        size=images.small_size,
        scale=views.small_scale,
        blur_probability=views.small_blur_probability,
        **shared,
    )
    return full + [small] * views.small_views


def _per_view(values: tuple[float, ...], views: int, key: str) -> tuple[float, ...]:
    if len(values) not in (1, views):
        raise E2MCError(f"views.{key}: give one value, or one for each of the {views} full views")
    return values if len(values) == views else values * views


def stream(*words: int) -> np.uint64:
    """Key of an independent stream of random numbers, e.g. ``stream(TRAINING, seed, epoch)``."""
    return np.random.SeedSequence(words).generate_state(1, np.uint64)[0]  # type: ignore[no-any-return]


def hashed(key: np.uint64, counters: ArrayLike) -> NDArray[np.uint64]:
    """Random 64-bit words addressed by counter: SplitMix64 (Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        word = key + np.asarray(counters, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(word ^ (word >> np.uint64(31)))


def _uniforms(key: np.uint64, samples: ArrayLike, views: ArrayLike) -> NDArray[np.float64]:
    """Independent uniforms on [0, 1), (n, columns); up to 2^18 views of 2^40 samples."""
    rows = (np.asarray(views, np.uint64) << np.uint64(46)) + (
        np.atleast_1d(np.asarray(samples, np.uint64)) << np.uint64(6)
    )
    counters = rows[:, None] + np.arange(_COLUMNS, dtype=np.uint64)
    return np.asarray((hashed(key, counters) >> np.uint64(11)) * 2.0**-53)


def draw(
    chosen: Sequence[Recipe],
    key: np.uint64,
    samples: ArrayLike,
    views: ArrayLike,
    height: int,
    width: int,
) -> Draws:
    """Decide everything random about n views of images of one size.

    Args:
        chosen: recipes, each for an equal run of rows.
        key: from :func:`stream`; one per seed and epoch.
        samples: (n,) or scalar, index of the image in its data set.
        views: (n,) or scalar, number of the view.
        height: of the image in pixels.
        width: of the image in pixels.
    """
    uniform = _uniforms(key, samples, views)
    crop, rest = uniform[:, : 2 * _ATTEMPTS + 2], uniform[:, 2 * _ATTEMPTS + 2 :]

    def field(name: str) -> NDArray[np.float64]:
        values = np.array([getattr(recipe, name) for recipe in chosen], np.float64)
        return values.repeat(len(uniform) // len(chosen), axis=0)

    strength = field("jitter")
    low = np.maximum(1 - strength, 0)
    low[:, 3] = -strength[:, 3]
    high = 1 + strength
    high[:, 3] = strength[:, 3]
    radius = field("blur_radius")
    return Draws(
        box=_boxes(crop, field("scale"), height, width),
        flip=rest[:, 0] < field("flip_probability"),
        jitter=rest[:, 1] < field("jitter_probability"),
        gray=rest[:, 2] < field("gray_probability"),
        blur=rest[:, 3] < field("blur_probability"),
        solarize=rest[:, 4] < field("solarize_probability"),
        radius=radius[:, 0] + rest[:, 5] * (radius[:, 1] - radius[:, 0]),
        order=rest[:, 6:10].argsort(axis=1, kind="stable"),
        factors=low + rest[:, 10:14] * (high - low),
    )


def _boxes(
    uniform: NDArray[np.float64], scale: NDArray[np.float64], height: int, width: int
) -> NDArray[np.int64]:
    """Torchvision's ``RandomResizedCrop.get_params``: the first of ten attempts that fits."""
    area = height * width * (scale[:, :1] + uniform[:, :_ATTEMPTS] * np.diff(scale, axis=1))
    low, high = np.log(_RATIO)
    ratio = np.exp(low + uniform[:, _ATTEMPTS : 2 * _ATTEMPTS] * (high - low))
    widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    rows, first = np.arange(len(uniform)), fits.argmax(axis=1)
    w, h = widths[rows, first], heights[rows, first]
    top = np.floor(uniform[:, -2] * (height - h + 1))
    left = np.floor(uniform[:, -1] * (width - w + 1))
    boxes = np.stack([top, left, h, w], axis=1).astype(np.int64)
    boxes[~fits.any(axis=1)] = _central_box(height, width)
    return boxes


def _central_box(height: int, width: int) -> tuple[int, int, int, int]:
    """Where no attempt fits: the largest central crop whose aspect ratio is allowed."""
    h, w = height, width
    if width / height < _RATIO[0]:
        h = round(width / _RATIO[0])
    elif width / height > _RATIO[1]:
        w = round(height * _RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w
