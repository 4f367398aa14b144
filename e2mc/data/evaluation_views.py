"""The views that frozen features are taken from."""

from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.experiment import Images
from e2mc.data.draws import EVALUATION, Recipe, stream
from e2mc.data.image_set import LabelledImages
from e2mc.data.views import normalised
from e2mc.errors import E2MCError

Crop = Literal["random", "center", "squash"]


def evaluation_batches(
    image_set: LabelledImages,
    images: Images,
    crop: Crop,
    normalization_std: tuple[float, float, float],
    pipeline: Literal["pillow", "tensor"],
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

    Args:
        image_set: the images.
        images: sizes.
        crop: "random": random resized crop (area 0.08 to 1, bilinear) and flip, as probes are
            trained; "center": shorter side resized, then the centre crop, as they are tested;
            "squash": resized and then squashed to a square (VISSL's VOC07).
        normalization_std: of the input normalisation.
        pipeline: as in training.
        batch_size: images per batch.
        seed: of the random crops.
        view: number of the random view; each draws its own.
        flip_probability: of the random views; 0 where a mirror image is another class.
        workers: loader processes of the `pillow` pipeline.
        first: index of the first image.
        last: index after the last image; None: all.
        device: where the batches are handed over.

    Yields:
        (n, 3, size, size) float32, normalised.

    Raises:
        E2MCError: corrupt images; several sizes with `tensor`; a centre crop larger than the
            resized image.
    """
    if crop == "center" and images.evaluation_resize < images.size:
        raise E2MCError(
            f"images.evaluation_resize ({images.evaluation_resize}) is smaller than the centre "
            f"crop images.size ({images.size})"
        )
    indices = np.arange(first, len(image_set) if last is None else last)
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    if not batches:
        return
    recipe = Recipe(size=images.size, flip_probability=flip_probability)
    random = _Random([recipe], stream(EVALUATION, seed), [view])
    device = torch.device(device)
    if pipeline == "tensor":
        made = _tensor(image_set, batches, random, images, crop, device)
    else:
        made = _pillow(image_set, batches, random, images, crop, device, workers)
    for (batch,) in made:
        yield normalised(batch, normalization_std)


class _Random(NamedTuple):
    recipes: list[Recipe]
    key: np.uint64
    views: list[int]


def _tensor(
    image_set: LabelledImages,
    batches: list[NDArray[np.int64]],
    random: _Random,
    sizes: Images,
    crop: Crop,
    device: torch.device,
) -> Iterator[list[Tensor]]:
    from e2mc.data.tensor_views import TensorViews

    make = TensorViews(image_set, device)
    for batch in batches:
        yield make(batch, *random) if crop == "random" else make.fixed(batch, sizes, crop)


def _pillow(
    image_set: LabelledImages,
    batches: list[NDArray[np.int64]],
    random: _Random,
    sizes: Images,
    crop: Crop,
    device: torch.device,
    workers: int,
) -> Iterator[list[Tensor]]:
    from e2mc.data.decode import decode
    from e2mc.data.loading import ViewBatches, load
    from e2mc.data.pillow_views import fixed_view, random_views

    make = partial(random_views, **random._asdict())
    if crop != "random":
        make = partial(fixed_view, sizes=sizes, crop=crop)
    for made in load(ViewBatches(image_set, batches, decode, make), 0, workers, device):
        yield made.views
