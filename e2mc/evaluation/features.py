"""Feature extraction: frozen features of every data set by one model, cached on disk."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2mc.config.protocols import IMAGENET
from e2mc.config.settings import KIND_VALUES, ExtractSettings, Kind
from e2mc.data.evaluation_views import (
    Crop,
    View,
    consecutive,
    evaluation_batches,
    evaluation_views,
)
from e2mc.data.image_set import LabelledImages, Split, open_images
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import discard_other_index, write_index
from e2mc.evaluation.shards import Shard, collect_shards, receipt, shard_path, write_shard
from e2mc.files import atomic_write, digest, sha256, write_json
from e2mc.methods import build_method
from e2mc.models.backbone import Trunk, quarter_pool
from e2mc.models.store import load_state, load_strict
from e2mc.plan import layout
from e2mc.provenance import cost, provenance
from e2mc.training.distributed import Place, find_place

SHARD_BYTES = 2**28
"""Largest shard: what an interruption may cost, and what processes share out."""


@dataclass(frozen=True)
class _Job:
    """One split of one data set: its images, how they are seen, and what it all depends on."""

    dataset: str
    split: Split
    images: LabelledImages
    crops: tuple[Crop, ...]
    dims: dict[Kind, int]
    source: str

    @property
    def name(self) -> str:
        return f"{self.dataset}-{self.split}"

    def folders(self, output: Path) -> dict[Kind, Path]:
        """The first kind has the plain name."""
        first = next(iter(self.dims))
        return {
            kind: output / (self.name if kind == first else f"{self.name}-{kind}")
            for kind in self.dims
        }

    def bounds(self) -> list[tuple[int, int]]:
        """First image of each shard, and the one after its last."""
        size = max(1, SHARD_BYTES // (2 * len(self.crops) * max(self.dims.values())))
        total = len(self.images)
        return [(first, min(first + size, total)) for first in range(0, total, size)]


def extract(
    settings: ExtractSettings, model: Path, output: Path, embeddings: Path | None = None
) -> None:
    """Cache a model's features of all data sets asked for.

    The record of a data set (:mod:`e2mc.config.protocols`) says how often its images are seen, in
    which crops, and which kinds of features come from the pass: the first kind lies in
    `<dataset>-<split>`, others in `<dataset>-<split>-<kind>`.

    Processes started together (torchrun, srun) divide the shards. Started again, extraction goes
    on at the first shard that is missing, changed, or made from other settings.

    Args:
        settings: data sets, views, image sizes.
        model: `model.safetensors`; only trunk and, for embeddings, projector are loaded.
        output: folder that receives `<dataset>-<split>/`.
        embeddings: `.npy` file for the projector's float16 output on the first test images of
            ImageNet, which must be among the data sets; (samples, d).

    Raises:
        E2MCError: data or model unusable, features that are not finite, or another process that
            stopped before its shards were done.
    """
    if embeddings is not None and IMAGENET.name not in settings.datasets:
        raise E2MCError("embeddings are those of ImageNet's test images: extract imagenet as well")
    place, checksum = find_place(), sha256(model)
    network = _load(settings, model, place.device)
    jobs = [
        _job(settings, dataset, split, checksum)
        for dataset in settings.datasets
        for split in ("train", "test")
    ]
    seconds = 0.0
    for job in jobs:
        _write_shards(settings, job, network["backbone"], output, place)
        if place.rank == 0:
            shards = _all_shards(job, output)
            seconds += sum(shard.seconds for shard in next(iter(shards.values())))
            spent = cost(seconds / place.world_size, place.world_size)
            _write_indices(settings, job, shards, model, checksum, spent, output)
    if embeddings is not None and place.rank == 0:
        (images,) = (job.images for job in jobs if job.name == f"{IMAGENET.name}-test")
        _write_embeddings(settings, images, network, embeddings, place.device)


def _load(settings: ExtractSettings, model: Path, device: torch.device) -> dict[str, nn.Module]:
    method = build_method(settings.recipe, settings.backbone)
    network: dict[str, nn.Module] = {"backbone": method.backbone, "projector": method.projector}
    state = load_state(model)
    for part in ("backbone", "projector"):
        prefix = f"{part}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        load_strict(network[part], own, f"{model} ({part})")
        network[part].eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _job(settings: ExtractSettings, dataset: str, split: Split, checksum: str) -> _Job:
    seen = settings.datasets[dataset]
    images = open_images(dataset, seen.data, split)
    of_split = seen.train if split == "train" else seen.test
    random: list[Crop] = ["random"] * of_split.views
    crops: tuple[Crop, ...] = (*random, of_split.fixed) if of_split.fixed else tuple(random)
    dims = {kind: KIND_VALUES[kind] * settings.backbone.feature_dimension for kind in seen.kinds}
    chosen = {*("backbone", "images", "normalization_std", "pipeline", "flip_probability", "seed")}
    plain = settings.model_dump(mode="json", include=chosen)
    names = digest([images.names, images.labels.tolist(), str(images.root)])
    source = digest([checksum, plain, dataset, split, crops, dims, names, SHARD_BYTES])
    return _Job(dataset, split, images, crops, dims, source)


def _write_shards(
    settings: ExtractSettings, job: _Job, backbone: nn.Module, output: Path, place: Place
) -> None:
    """The shards that fall to this process and are not there yet."""
    folders, bounds = job.folders(output), job.bounds()
    for folder in folders.values():
        discard_other_index(folder / layout.INDEX_FILE, job.source)
    missing = [
        number
        for number in range(place.rank, len(bounds), place.world_size)
        if not all(receipt(shard_path(folder, number), job.source) for folder in folders.values())
    ]
    views = _views(settings, job, [bounds[number] for number in missing], place.device)
    for number in missing:
        began = time.perf_counter()
        features = _features(job, backbone, bounds[number], views)
        seconds = time.perf_counter() - began
        for kind, folder in folders.items():
            write_shard(shard_path(folder, number), features[kind], job.source, seconds)
        print(f"{job.name}: {bounds[number][1]} of {len(job.images)} images", flush=True)


def _all_shards(job: _Job, output: Path) -> dict[Kind, list[Shard]]:
    """Wait for the shards of other processes."""
    folders = job.folders(output)
    return {
        kind: collect_shards(folder, job.bounds(), job.source) for kind, folder in folders.items()
    }


def _write_indices(
    settings: ExtractSettings,
    job: _Job,
    shards: dict[Kind, list[Shard]],
    model: Path,
    checksum: str,
    spent: dict[str, Any],
    output: Path,
) -> None:
    """Declare the folders complete; the cost lies apart, for an index may be very long."""
    for kind, folder in job.folders(output).items():
        write_json(folder / layout.COST_FILE, {"cost": spent})
        content = {
            "dataset": job.dataset,
            "split": job.split,
            "kind": kind,
            "dim": job.dims[kind],
            "crops": job.crops,
            "views": job.crops.count("random"),
            "model_sha256": checksum,
            "source": job.source,
            "provenance": provenance(settings.model_dump(mode="json"), {"model": model}),
            "classes": job.images.classes,
            "names": job.images.names,
            "labels": job.images.labels.tolist(),
        }
        write_index(folder / layout.INDEX_FILE, content, shards[kind])


@torch.inference_mode()
def _features(
    job: _Job, backbone: nn.Module, bounds: tuple[int, int], views: Iterator[Tensor]
) -> dict[Kind, NDArray[np.float16]]:
    """(crops, samples, dim) of every kind: one pass of the network serves all kinds."""
    assert isinstance(backbone, Trunk)
    count, crops = bounds[1] - bounds[0], len(job.crops)
    features = {kind: np.empty((crops, count, dim), np.float16) for kind, dim in job.dims.items()}
    done = 0
    while done < count:
        for at, images in enumerate(islice(views, crops)):
            maps = backbone.feature_map(images.contiguous(memory_format=torch.channels_last))
            for kind, rows in features.items():
                pooled = backbone.pool(maps) if kind == "pooled" else quarter_pool(maps).flatten(1)
                rows[at, done : done + len(images)] = pooled.to(torch.float16).cpu().numpy()
        done += len(images)
    for rows in features.values():
        for seen in rows:
            _require_finite(seen, job.images, bounds[0], f"{job.name}: the features of {{}} are")
    return features


def _require_finite(
    rows: NDArray[np.float16], images: LabelledImages, first: int, subject: str
) -> None:
    """Rows of the images from ``first`` on; ``subject`` begins the error, `{}` is the image."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise E2MCError(
            f"{subject.format(images.names[first + bad[0]])} NaN or beyond 65504, which float16 "
            "cannot hold: the model has diverged; train it again with a lower learning rate or "
            "weaker criterion"
        )


def _views(
    settings: ExtractSettings, job: _Job, shards: list[tuple[int, int]], device: torch.device
) -> Iterator[Tensor]:
    """All crops of the images of these shards, from one loader; no batch is of two shards."""
    batches = [batch for bounds in shards for batch in consecutive(*bounds, settings.batch_size)]
    return evaluation_views(
        job.images,
        settings.images,
        [View(crop, at) for at, crop in enumerate(job.crops)],
        settings.normalization_std,
        settings.pipeline,
        batches,
        seed=settings.seed,
        flip_probability=settings.flip_probability,
        workers=settings.workers,
        device=device,
    )


@torch.inference_mode()
def _write_embeddings(
    settings: ExtractSettings,
    images: LabelledImages,
    network: dict[str, nn.Module],
    path: Path,
    device: torch.device,
) -> None:
    centres = evaluation_batches(
        images,
        settings.images,
        "center",
        settings.normalization_std,
        settings.pipeline,
        settings.batch_size,
        workers=settings.workers,
        last=min(settings.embedding_samples, len(images)),
        device=device,
    )
    parts = []
    for batch in centres:
        features = network["backbone"](batch.contiguous(memory_format=torch.channels_last))
        parts.append(network["projector"](features).to(torch.float16).cpu().numpy())
    embeddings = np.concatenate(parts)
    _require_finite(embeddings, images, 0, "the embedding of {} is")
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, embeddings)
