"""Forward passes of a frozen trunk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.methods import Backbone
from e2mc.config.settings import FrozenSettings, Kind
from e2mc.data.evaluation_views import View, evaluation_views
from e2mc.data.image_set import LabelledImages
from e2mc.errors import E2MCError
from e2mc.models.backbone import Trunk, build_backbone, quarter_pool
from e2mc.models.store import load_state, load_strict

Computed = dict[Kind, NDArray[np.float16]]
"""Kind of features -> (views, samples, values)."""


def load_trunk(shape: Backbone, model: Path) -> Trunk:
    """The trunk of a model file.

    Raises:
        E2MCError: the file cannot be read, or its trunk has another shape.
    """
    trunk, prefix = build_backbone(shape), "backbone."
    weights = load_state(model)
    own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    load_strict(trunk, own, f"{model} (backbone)")
    return trunk


def frozen_trunk(settings: FrozenSettings, model: Path, device: torch.device) -> Trunk:
    """The trunk of a model file, ready for forward passes alone; as `load_trunk`."""
    trunk = load_trunk(settings.backbone, model).eval().to(device)
    trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return trunk


def seen(
    settings: FrozenSettings,
    images: LabelledImages,
    views: Sequence[View],
    batches: Sequence[NDArray[np.int64]],
    device: torch.device,
) -> Iterator[Tensor]:
    """All views of the first batch of images, one after the other, then those of the second."""
    return evaluation_views(
        images,
        settings.images,
        views,
        settings.normalization_std,
        settings.pipeline,
        batches,
        seed=settings.seed,
        flip_probability=settings.flip_probability,
        workers=settings.workers,
        device=device,
    )


@torch.inference_mode()
def compute(
    settings: FrozenSettings,
    trunk: Trunk,
    images: Iterator[Tensor],
    batches: Sequence[NDArray[np.int64]],
    views: int,
    kinds: Mapping[Kind, int],
    after_batch: Callable[[int], None] = lambda done: None,
) -> Computed:
    """Features of these batches; one pass of the trunk serves all kinds.

    Args:
        settings: their `precision` is that of the passes; pooling is float32.
        trunk: from `frozen_trunk`.
        images: from `seen`; more batches may follow.
        batches: those to be computed now.
        views: of each batch.
        kinds: kind -> values per sample.
        after_batch: called with the number of batches that are done, all views of them.

    Returns:
        float16, in the order of the batches.
    """
    count, done = sum(map(len, batches)), 0
    features: Computed = {
        kind: np.empty((views, count, values), np.float16) for kind, values in kinds.items()
    }
    for number, batch in enumerate(batches, 1):
        for at, view in enumerate(islice(images, views)):
            maps = feature_map(settings, trunk, view)
            for kind, rows in features.items():
                pooled = trunk.pool(maps) if kind == "pooled" else quarter_pool(maps).flatten(1)
                rows[at, done : done + len(batch)] = pooled.to(torch.float16).cpu().numpy()
        done += len(batch)
        after_batch(number)
    return features


def feature_map(settings: FrozenSettings, trunk: Trunk, images: Tensor) -> Tensor:
    """The last map in float32, of passes in the precision asked for."""
    dtype = getattr(torch, settings.precision)
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        maps = trunk.feature_map(images.contiguous(memory_format=torch.channels_last))
    return maps.float()


def require_finite(rows: NDArray[np.float16], names: Sequence[str], subject: str) -> None:
    """Refuse rows that a diverged model made.

    Args:
        rows: (n, values).
        names: of the images, one a row.
        subject: beginning of the error, with `{}` for the image.

    Raises:
        E2MCError: a value is NaN or infinite.
    """
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise E2MCError(
            f"{subject.format(names[bad[0]])} NaN or beyond 65504, which float16 cannot hold: the "
            "model has diverged; train it again with a lower learning rate or weaker criterion"
        )
