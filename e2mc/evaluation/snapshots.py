"""Linear probes of the snapshots of a continued pre-training (Figure 4).

A probe sees a fresh view of the listed images in every epoch, as the paper's online protocol: no
feature is stored.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from e2mc.config.settings import SnapshotSettings
from e2mc.data.evaluation_views import Crop, evaluation_batches
from e2mc.data.image_set import ImageSet
from e2mc.data.imagenet import open_imagenet
from e2mc.data.labels import listed
from e2mc.errors import E2MCError
from e2mc.evaluation.probe import Head, fit_heads
from e2mc.evaluation.results import write_csv
from e2mc.evaluation.streams import best_device
from e2mc.files import digest, read_json, sha256, write_json, write_record
from e2mc.models.backbone import Trunk, build_backbone
from e2mc.models.store import load_metadata, load_state, load_strict
from e2mc.plan import layout
from e2mc.provenance import cost, provenance
from e2mc.training.arithmetic import set_arithmetic
from e2mc.training.state import run_lock

PREFIX = "backbone."


def snapshots(
    settings: SnapshotSettings, models: Sequence[Path], output: Path, state: Path
) -> None:
    """Probe the trunk of every snapshot and write its top-1 beside its epoch (paper 5.5).

    Started again after an interruption, it goes on at the first snapshot that it has not probed.

    Args:
        settings: recipe of the probe, images, label list.
        models: the imported checkpoint, epoch 0, and ``epoch<e>.safetensors`` of one run in
            the order of their epochs.
        output: folder that receives history.csv (epoch, top1) and metrics.json.
        state: folder of what is known while it runs.

    Raises:
        E2MCError: snapshots of several runs, a model that does not fit, or a label list or images
            that cannot be used.
    """
    epochs = _epochs(models)
    train, test = _listed(settings), open_imagenet(settings.data, "test")
    with run_lock(state):
        found = [
            (epoch, _remembered(settings, model, train, test, state / f"epoch{epoch}.json"))
            for epoch, model in zip(epochs, models, strict=True)
        ]
        rows = [(epoch, f"{top1:.4f}") for epoch, top1 in found]
        write_csv(output / layout.CURVE_FILE, ("epoch", "top1"), rows)
        content = {
            "protocol": output.name,
            "metric": "top-1",
            "unit": "%",
            "last": found[-1][1],
            "percent": settings.percent,
            "views": settings.fit.epochs,
            "classes": len(test.classes),
            "train_samples": len(train),
            "test_samples": len(test),
            "test_set": digest([list(test.names), test.labels.tolist()]),
            "cost": cost(),
            "provenance": provenance(
                settings.model_dump(mode="json"), {model.name: model for model in models}
            ),
        }
        write_record(output / layout.METRICS_FILE, content, [output / layout.CURVE_FILE])
        for epoch in epochs:
            (state / f"epoch{epoch}.json").unlink()


def _epochs(models: Sequence[Path]) -> list[int]:
    """Of each file, as it says; all must be of one run."""
    metadata = [load_metadata(model) for model in models]
    runs = {known["run"] for known in metadata if "run" in known}
    if len(runs) > 1:
        raise E2MCError(
            f"the snapshots in {models[-1].parent} are of {len(runs)} runs: delete them and train "
            "again"
        )
    return [int(known["epochs"]) if "run" in known else 0 for known in metadata]


def _listed(settings: SnapshotSettings) -> ImageSet:
    return listed(open_imagenet(settings.data, "train"), settings.data.lists, settings.percent)


def _remembered(
    settings: SnapshotSettings, model: Path, train: ImageSet, test: ImageSet, memory: Path
) -> float:
    """Top-1 of a snapshot in per cent, from an earlier start if it is known."""
    source = digest([settings.model_dump(mode="json"), sha256(model)])
    if memory.exists():
        known: dict[str, Any] = read_json(memory)
        if known["source"] == source:
            return float(known["top1"])
    top1 = _probe(settings, model, train, test)
    print(f"{model}: {top1:.2f} %", flush=True)
    write_json(memory, {"source": source, "top1": top1})
    return top1


def _probe(settings: SnapshotSettings, model: Path, train: ImageSet, test: ImageSet) -> float:
    """Top-1 after the last epoch, in per cent."""
    device = best_device()
    set_arithmetic(settings)
    trunk = build_backbone(settings.backbone)
    state = load_state(model)
    own = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
    load_strict(trunk, own, f"{model} (backbone)")
    trunk.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    (fitted,) = fit_heads(
        partial(_features, settings, trunk, train, "random"),
        settings.fit.epochs,
        train.labels,
        _features(settings, trunk, test, "center", 0),
        test.labels,
        len(train.classes),
        [Head(settings.fit, settings.seed)],
        precision=settings.precision,
    )
    return 100 * float(np.mean(fitted.predictions == test.labels))


@torch.inference_mode()
def _features(
    settings: SnapshotSettings, trunk: Trunk, images: ImageSet, crop: Crop, view: int
) -> NDArray[np.float32]:
    """(images, dim) of one view."""
    batches: Iterator[torch.Tensor] = evaluation_batches(
        images,
        settings.images,
        crop,
        settings.normalization_std,
        settings.pipeline,
        settings.batch_size,
        seed=settings.seed,
        view=view,
        flip_probability=settings.flip_probability,
        workers=settings.workers,
        device=best_device(),
    )
    rows = [trunk(batch.contiguous(memory_format=torch.channels_last)).cpu() for batch in batches]
    return torch.cat(rows).numpy()
