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

from e2mc.config.settings import Dataset, ExtractSettings
from e2mc.data.evaluation_views import (
    Crop,
    View,
    consecutive,
    evaluation_batches,
    evaluation_views,
)
from e2mc.data.image_set import LabelledImages, Split
from e2mc.data.imagenet import open_imagenet
from e2mc.data.inat18 import open_inat18
from e2mc.data.voc07 import open_voc07
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import Kind, discard_other_index, write_index
from e2mc.evaluation.shards import Shard, collect_shards, receipt, shard_path, write_shard
from e2mc.files import atomic_write, digest, sha256
from e2mc.models.backbone import ResNet, quarter_pool
from e2mc.models.heads import build_network, read_recipe
from e2mc.models.store import load_state, load_strict
from e2mc.provenance import cost, provenance
from e2mc.training.distributed import Place, find_place

SHARD_BYTES = 2**28
"""Largest shard: what an interruption may cost, and what processes share out."""


@dataclass(frozen=True)
class _Job:
    """One split of one data set: its images, how they are seen, and what it all depends on."""

    dataset: Dataset
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

    Training images are seen as many times as there are views, each a random crop with a flip as
    probes are trained; those of ImageNet once more as a centre crop, for nearest neighbours.
    Test images are one centre crop. Both splits of VOC07 are one squashed image or centre crop.
    iNat18 gives the 2x2-pooled maps, and from the same pass also pooled features if they are
    asked for (in `inat18-<split>-pooled`); the other data sets pooled features.

    Processes started together (torchrun, srun) divide the shards. Started again, extraction goes
    on at the first shard that is missing, changed, or made from other settings.

    Args:
        settings: data sets, views, image sizes.
        model: `model.safetensors`; only trunk and, for embeddings, projector are loaded.
        output: folder that receives `<dataset>-<split>/`.
        embeddings: `.npy` file for the projector's float16 output on the first test images of
            ImageNet, (samples, d).

    Raises:
        E2MCError: data or model unusable, features that are not finite, or another process that
            stopped before its shards were done.
    """
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
        tested = [job.images for job in jobs if job.name == "imagenet-test"]
        images = tested[0] if tested else open_imagenet(settings.imagenet, "test")
        _write_embeddings(settings, images, network, embeddings, place.device)


def _load(settings: ExtractSettings, model: Path, device: torch.device) -> dict[str, nn.Module]:
    network = build_network(read_recipe(settings.method, settings.recipe), settings.backbone)
    state = load_state(model)
    for part in ("backbone", "projector"):
        prefix = f"{part}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        load_strict(network[part], own, f"{model} ({part})")
        network[part].eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _job(settings: ExtractSettings, dataset: Dataset, split: Split, checksum: str) -> _Job:
    images = _open(settings, dataset, split)
    random: list[Crop] = ["random"] * settings.datasets[dataset]
    crops: tuple[Crop, ...] = ("center",)
    if dataset == "voc07" and settings.voc_resize == "squash":
        crops = ("squash",)
    elif dataset == "inat18" and split == "train":
        crops = tuple(random)
    elif dataset == "imagenet" and split == "train":
        crops = (*random, "center")
    width = settings.backbone.feature_dimension
    dims: dict[Kind, int] = {"pooled": width}
    if dataset == "inat18":
        dims = {"quarters": 4 * width, **(dims if settings.inat18_pooled else {})}
    chosen = {*("backbone", "images", "normalization_std", "pipeline", "flip_probability", "seed")}
    plain = settings.model_dump(mode="json", include=chosen)
    names = digest([images.names, images.labels.tolist(), str(images.root)])
    source = digest([checksum, plain, dataset, split, crops, dims, names, SHARD_BYTES])
    return _Job(dataset, split, images, crops, dims, source)


def _open(settings: ExtractSettings, dataset: Dataset, split: Split) -> LabelledImages:
    if dataset == "imagenet":
        return open_imagenet(settings.imagenet, split)
    root = settings.inat18 if dataset == "inat18" else settings.voc07
    if root is None:
        raise E2MCError(f"data.{dataset} is null in the configuration: give the folder of the data")
    return open_inat18(root, split) if dataset == "inat18" else open_voc07(root, split)


def _write_shards(
    settings: ExtractSettings, job: _Job, backbone: nn.Module, output: Path, place: Place
) -> None:
    """The shards that fall to this process and are not there yet."""
    folders, bounds = job.folders(output), job.bounds()
    for folder in folders.values():
        discard_other_index(folder / "index.json", job.source)
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
    """Declare the folders complete."""
    for kind, folder in job.folders(output).items():
        content = {
            "dataset": job.dataset,
            "split": job.split,
            "kind": kind,
            "dim": job.dims[kind],
            "crops": job.crops,
            "views": job.crops.count("random"),
            "model_sha256": checksum,
            "source": job.source,
            "cost": spent,
            "provenance": provenance(settings.model_dump(mode="json"), {"model": model}),
            "classes": job.images.classes,
            "names": job.images.names,
            "labels": job.images.labels.tolist(),
        }
        write_index(folder / "index.json", content, shards[kind])


@torch.inference_mode()
def _features(
    job: _Job, backbone: nn.Module, bounds: tuple[int, int], views: Iterator[Tensor]
) -> dict[Kind, NDArray[np.float16]]:
    """(crops, samples, dim) of every kind: one pass of the network serves all kinds."""
    assert isinstance(backbone, ResNet)
    count, crops = bounds[1] - bounds[0], len(job.crops)
    features = {kind: np.empty((crops, count, dim), np.float16) for kind, dim in job.dims.items()}
    done = 0
    while done < count:
        for at, images in enumerate(islice(views, crops)):
            maps = backbone.feature_map(images.contiguous(memory_format=torch.channels_last))
            for kind, rows in features.items():
                pooled = maps.mean((2, 3)) if kind == "pooled" else quarter_pool(maps).flatten(1)
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
