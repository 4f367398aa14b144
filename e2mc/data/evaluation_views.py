"""The views that frozen features are taken from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.experiment import Images
from e2mc.data.decode import decode, decode_levels
from e2mc.data.draws import EVALUATION, Recipe, stream
from e2mc.data.image_set import LabelledImages
from e2mc.data.loading import ViewBatches, load
from e2mc.data.views import normalised
from e2mc.errors import E2MCError

Crop = Literal["random", "center", "squash"]
Pipeline = Literal["pillow", "fast", "tensor"]


class View(NamedTuple):
    """One way to see an image.

    Attributes:
        crop: "random": random resized crop (area 0.08 to 1, bilinear) and flip, as probes are
            trained; "center": shorter side resized, then the centre crop, as they are tested;
            "squash": resized and then squashed to a square (VISSL's VOC07).
        number: of a random view; each draws its own.
    """

    crop: Crop
    number: int = 0


def evaluation_views(
    image_set: LabelledImages,
    images: Images,
    views: Sequence[View],
    normalization_std: tuple[float, float, float],
    pipeline: Pipeline,
    batches: Sequence[NDArray[np.int64]],
    *,
    seed: int = 0,
    flip_probability: float = 0.5,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Several views of every image, each image decoded once.

    Args:
        image_set: the images.
        images: sizes.
        views: how each image is seen.
        normalization_std: of the input normalisation.
        pipeline: `pillow`, as published; `fast`: torch's resize instead of Pillow's; `tensor`:
            images of one size, in memory.
        batches: indices of the images of each batch.
        seed: of the random crops.
        flip_probability: of the random views; 0 where a mirror image is another class.
        workers: loader processes; `tensor` has none.
        device: where the views are handed over.

    Yields:
        (n, 3, size, size) float32, normalised: all views of the first batch, one after the other,
        then those of the second.

    Raises:
        E2MCError: corrupt images; several sizes with `tensor`; a centre crop larger than the
            resized image.
    """
    if any(view.crop == "center" for view in views) and images.evaluation_resize < images.size:
        raise E2MCError(
            f"images.evaluation_resize ({images.evaluation_resize}) is smaller than the centre "
            f"crop images.size ({images.size})"
        )
    recipe = Recipe(size=images.size, flip_probability=flip_probability)
    seen = _Seen(tuple(views), recipe, stream(EVALUATION, seed), images)
    device = torch.device(device)
    if pipeline == "tensor":
        made = _in_memory(image_set, batches, seen, device)
    else:
        made = _loaded(image_set, batches, seen, pipeline, workers, device)
    for batch in made:
        yield normalised(batch, normalization_std)


def evaluation_batches(
    image_set: LabelledImages,
    images: Images,
    crop: Crop,
    normalization_std: tuple[float, float, float],
    pipeline: Pipeline,
    batch_size: int,
    *,
    seed: int = 0,
    view: int = 0,
    flip_probability: float = 0.5,
    workers: int = 0,
    first: int = 0,
    last: int | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Batches of one view of every image, in the data set's order.

    Arguments as of :func:`evaluation_views`, and: `batch_size` images per batch, `crop` and `view`
    as the fields of :class:`View`, indices of the `first` image and after the `last` (None: all).

    Yields:
        (n, 3, size, size) float32, normalised.
    """
    return evaluation_views(
        image_set,
        images,
        [View(crop, view)],
        normalization_std,
        pipeline,
        consecutive(first, len(image_set) if last is None else last, batch_size),
        seed=seed,
        flip_probability=flip_probability,
        workers=workers,
        device=device,
    )


def consecutive(first: int, last: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Indices from `first` to before `last`, in batches."""
    return [
        np.arange(start, min(start + batch_size, last)) for start in range(first, last, batch_size)
    ]


@dataclass(frozen=True)
class _Seen:
    """What the pipelines need to know to make the views."""

    views: tuple[View, ...]
    recipe: Recipe
    key: np.uint64
    sizes: Images


def _in_memory(
    image_set: LabelledImages,
    batches: Sequence[NDArray[np.int64]],
    seen: _Seen,
    device: torch.device,
) -> Iterator[Tensor]:
    from e2mc.data.tensor_views import TensorViews

    if not batches:
        return
    make = TensorViews(image_set, device)
    for batch in batches:
        for crop, number in seen.views:
            if crop == "random":
                yield from make(batch, [seen.recipe], seen.key, [number])
            else:
                yield from make.fixed(batch, seen.sizes, crop)


def _loaded(
    image_set: LabelledImages,
    batches: Sequence[NDArray[np.int64]],
    seen: _Seen,
    pipeline: Literal["pillow", "fast"],
    workers: int,
    device: torch.device,
) -> Iterator[Tensor]:
    # What a worker hands over at a time is as large as a batch of one view: with ten views, a
    # tenth of the images.
    shares = [np.array_split(batch, min(len(seen.views), len(batch))) for batch in batches]
    source: ViewBatches[Any]
    parts = [part for share in shares for part in share]
    if pipeline == "pillow":
        from e2mc.data.pillow_views import fixed_view, random_views

        source = ViewBatches(image_set, parts, decode, _Make(seen, random_views, fixed_view))
    else:
        from e2mc.data.device_views import crops, fixed_crop

        source = ViewBatches(image_set, parts, decode_levels, _Make(seen, crops, fixed_crop))
    loaded = load(source, 0, workers, device)
    for share in shares:
        made = [part.views for part in islice(loaded, len(share))]
        for view in zip(*made, strict=True):
            yield torch.cat(view) if len(view) > 1 else view[0]


@dataclass(frozen=True)
class _Make:
    """All views of one decoded image."""

    seen: _Seen
    random: Callable[..., Sequence[NDArray[np.uint8]]]
    fixed: Callable[..., NDArray[np.uint8]]

    def __call__(self, image: Any, index: int) -> list[NDArray[np.uint8]]:
        seen = self.seen
        numbers = [number for crop, number in seen.views if crop == "random"]
        recipes = [seen.recipe] * len(numbers)
        drawn = iter(self.random(image, index, recipes, seen.key, numbers) if numbers else ())
        return [
            next(drawn) if crop == "random" else self.fixed(image, seen.sizes, crop)
            for crop, _ in seen.views
        ]
