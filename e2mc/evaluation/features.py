"""Feature extraction: frozen features of every data set by one model, cached on disk."""

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from e2mc.config.protocols import IMAGENET
from e2mc.config.settings import KIND_VALUES, ExtractSettings, Kind
from e2mc.data.evaluation_views import Crop, View, consecutive
from e2mc.data.image_set import LabelledImages, Split, open_images
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import open_features, write_index
from e2mc.evaluation.frozen import compute, feature_map, frozen_trunk, require_finite, seen
from e2mc.evaluation.shards import Shard, collect_shards, receipt, shard_path, write_shard
from e2mc.files import atomic_write, digest, sha256, write_json, write_record
from e2mc.methods import build_method
from e2mc.models.backbone import Trunk
from e2mc.models.store import load_state, load_strict
from e2mc.plan import layout
from e2mc.provenance import cost, provenance
from e2mc.training.arithmetic import set_arithmetic
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

    def unfinished(self, output: Path) -> dict[Kind, Path]:
        """Siblings of the folders, which become them when all is there."""
        return {
            kind: folder.with_name(f".{folder.name}")
            for kind, folder in self.folders(output).items()
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

    Processes started together (torchrun, srun) divide the shards. Until all of a split are there
    they lie in a hidden sibling of its folder, where an extraction that is started again goes on
    at the first shard that is missing, changed, or made from other settings. A folder of other
    features is replaced in the end; one that is complete is left as it is.

    Args:
        settings: data sets, views, image sizes.
        model: `model.safetensors`; only trunk and, for embeddings, projector are loaded.
        output: folder that receives `<dataset>-<split>/`.
        embeddings: `.npy` file for the projector's float16 output on the first test images of
            ImageNet, which must be among the data sets; (samples, d). Its record lies beside it.

    Raises:
        E2MCError: data or model unusable, features that are not finite, or another process that
            stopped before its shards were done.
    """
    if embeddings is not None and IMAGENET.name not in settings.datasets:
        raise E2MCError("embeddings are those of ImageNet's test images: extract imagenet as well")
    place, checksum = find_place(), sha256(model)
    set_arithmetic(settings)
    trunk = frozen_trunk(settings, model, place.device)
    jobs = [
        _job(settings, dataset, split, checksum)
        for dataset in settings.datasets
        for split in ("train", "test")
    ]
    seconds = 0.0
    for job in jobs:
        if _is_complete(job, output):
            continue
        _write_shards(_normalised(settings, job.dataset), job, trunk, output, place)
        if place.rank == 0:
            shards = _all_shards(job, output)
            seconds += sum(shard.seconds for shard in next(iter(shards.values())))
            spent = cost(seconds / place.world_size, place.world_size)
            _publish(settings, job, shards, model, checksum, spent, output)
    if embeddings is not None and place.rank == 0:
        (images,) = (job.images for job in jobs if job.name == f"{IMAGENET.name}-test")
        projector = _projector(settings, model, place.device)
        _write_embeddings(settings, images, trunk, projector, embeddings, place.device)
        made = {"provenance": provenance(settings.model_dump(mode="json"), {"model": model})}
        write_record(embeddings.with_suffix(".json"), made, [embeddings])


def _is_complete(job: _Job, output: Path) -> bool:
    """Whether the folders hold all of these very features, every shard as it was written."""
    try:
        found = [
            open_features(folder / layout.INDEX_FILE, verify=True)
            for folder in job.folders(output).values()
        ]
    except E2MCError:
        return False
    return all(features.source == job.source for features in found)


def _projector(settings: ExtractSettings, model: Path, device: torch.device) -> nn.Module:
    projector, prefix = build_method(settings.recipe, settings.backbone).projector, "projector."
    state = load_state(model)
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    load_strict(projector, own, f"{model} (projector)")
    return projector.eval().to(device)


def _job(settings: ExtractSettings, dataset: str, split: Split, checksum: str) -> _Job:
    wanted = settings.datasets[dataset]
    images = open_images(dataset, wanted.data, split)
    of_split = wanted.train if split == "train" else wanted.test
    random: list[Crop] = ["random"] * of_split.views
    crops: tuple[Crop, ...] = (*random, of_split.fixed) if of_split.fixed else tuple(random)
    dims = {kind: KIND_VALUES[kind] * settings.backbone.feature_dimension for kind in wanted.kinds}
    other = {"recipe", "datasets", "embedding_samples", "batch_size"}
    plain = _normalised(settings, dataset).model_dump(mode="json", exclude=other)
    names = digest([images.names, images.labels.tolist(), str(images.root)])
    source = digest([checksum, plain, dataset, split, crops, dims, names, SHARD_BYTES])
    return _Job(dataset, split, images, crops, dims, source)


def _normalised(settings: ExtractSettings, dataset: str) -> ExtractSettings:
    """With the input normalisation of this data set."""
    own = settings.datasets[dataset].normalization_std
    return settings if own is None else settings.model_copy(update={"normalization_std": own})


def _write_shards(
    settings: ExtractSettings, job: _Job, trunk: Trunk, output: Path, place: Place
) -> None:
    """The shards that fall to this process and are not there yet; no batch is of two shards."""
    folders, bounds = job.unfinished(output), job.bounds()
    missing = [
        number
        for number in range(place.rank, len(bounds), place.world_size)
        if not all(receipt(shard_path(folder, number), job.source) for folder in folders.values())
    ]
    batches = {number: consecutive(*bounds[number], settings.batch_size) for number in missing}
    views = [View(crop, at) for at, crop in enumerate(job.crops)]
    every = [batch for of_shard in batches.values() for batch in of_shard]
    images = seen(settings, job.images, views, every, place.device)
    writing: list[Future[None]] = []
    with ThreadPoolExecutor(max_workers=1) as writer:
        for number, of_shard in batches.items():
            began = time.perf_counter()
            features = compute(settings, trunk, images, of_shard, len(views), job.dims)
            names = job.images.names[slice(*bounds[number])]
            for rows in (view for kind in features.values() for view in kind):
                require_finite(rows, names, f"{job.name}: the features of {{}} are")
            seconds = time.perf_counter() - began
            for done in writing:  # of the shard before: two are in memory, never more
                done.result()
            writing = [
                writer.submit(
                    write_shard, shard_path(folder, number), features[kind], job.source, seconds
                )
                for kind, folder in folders.items()
            ]
            print(f"{job.name}: {bounds[number][1]} of {len(job.images)} images", flush=True)
        for done in writing:
            done.result()


def _all_shards(job: _Job, output: Path) -> dict[Kind, list[Shard]]:
    """Wait for the shards of other processes."""
    return {
        kind: collect_shards(folder, job.bounds(), job.source)
        for kind, folder in job.unfinished(output).items()
    }


def _publish(
    settings: ExtractSettings,
    job: _Job,
    shards: dict[Kind, list[Shard]],
    model: Path,
    checksum: str,
    spent: dict[str, Any],
    output: Path,
) -> None:
    """Give complete folders their names; the cost lies beside them and outlives them."""
    write_json(
        output / layout.COST_FILE.format(dataset=job.dataset, split=job.split), {"cost": spent}
    )
    for kind, folder in job.folders(output).items():
        unfinished = job.unfinished(output)[kind]
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
        write_index(unfinished / layout.INDEX_FILE, content, shards[kind])
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)


@torch.inference_mode()
def _write_embeddings(
    settings: ExtractSettings,
    images: LabelledImages,
    trunk: Trunk,
    projector: nn.Module,
    path: Path,
    device: torch.device,
) -> None:
    last = min(settings.embedding_samples, len(images))
    batches = consecutive(0, last, settings.batch_size)
    parts = []
    for batch in seen(settings, images, [View("center")], batches, device):
        features = trunk.pool(feature_map(settings, trunk, batch))
        parts.append(projector(features).to(torch.float16).cpu().numpy())
    embeddings = np.concatenate(parts)
    require_finite(embeddings, images.names, "the embedding of {} is")
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, embeddings)
