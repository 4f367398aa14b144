"""Fine-tuning of a trunk and a new linear head, resumable at any step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config.evaluation import FineTune
from e2mc.config.settings import FineTuneSettings
from e2mc.data.evaluation_views import evaluation_batches
from e2mc.data.image_set import ImageSet
from e2mc.data.views import TrainingViews, steps_per_epoch
from e2mc.evaluation.results import Epoch, refuse_diverged
from e2mc.evaluation.schedule import epoch_rate
from e2mc.files import digest, sha256
from e2mc.models.backbone import build_backbone
from e2mc.models.store import load_state, load_strict
from e2mc.training import state as states
from e2mc.training.distributed import (
    Place,
    from_rank_zero,
    on_any_rank,
    parallel,
    synchronise_batch_norm,
)
from e2mc.training.optim import LARS, build_optimizer

SAVE_SECONDS = 300.0
"""Time between two states: what a kill may cost."""

FACTOR = 0.2
"""What milestones multiply the rates by (SwAV's official `eval_semisup.py`)."""


@dataclass
class Run:
    """A network being fine-tuned, with all that a state must hold.

    Attributes:
        sums: summed loss and number of images of the epoch under way, over all processes.
        processes: how many it runs on.
        predictions: (test images,), after the last finished epoch.
    """

    identity: str
    network: nn.Sequential
    optimizer: LARS
    sums: Tensor
    processes: int
    history: list[Epoch] = field(default_factory=list)
    step: int = 0
    predictions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""
        return {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sums": self.sums,
            "history": [list(epoch) for epoch in self.history],
            "predictions": self.predictions,
            "processes": self.processes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same identity; `step` is part of the state's name."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.sums.copy_(state["sums"])
        self.history = [Epoch(*row) for row in state["history"]]
        self.predictions = state["predictions"].cpu()


def build(settings: FineTuneSettings, percent: int, model: Path, classes: int, place: Place) -> Run:
    """A run at its first step; the head is PyTorch's default of the seed.

    Raises:
        E2MCError: the model does not fit.
    """
    torch.manual_seed(settings.seed)
    head = nn.Linear(settings.backbone.feature_dimension, classes)
    backbone = build_backbone(settings.backbone)
    prefix = "backbone."
    weights = load_state(model)
    trunk = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    load_strict(backbone, trunk, f"{model} (backbone)")
    network = nn.Sequential(backbone, head)
    network.to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.batch_norm == "synchronised":
        synchronise_batch_norm(network, place)
    groups = [{"params": list(part.parameters())} for part in network]
    optimizer = build_optimizer(groups, settings.optimizer, learning_rate=0.0)
    plain = settings.model_dump(mode="json", exclude={"batch_size", "fits"})
    fit = settings.fits[percent].model_dump()
    identity = digest([plain, percent, fit, sha256(model)])
    sums = torch.zeros(2, dtype=torch.float64, device=place.device)
    return Run(identity, network, optimizer, sums, place.world_size)


def resume(run: Run, folder: Path, place: Place) -> None:
    """Go on from the newest complete state of this run, if there is one.

    Raises:
        E2MCError: it was saved by another number of processes; see
            `e2mc.training.state.admit_processes`.
    """
    step, found = 0, states.load_newest_state(folder) if place.rank == 0 else None
    if found is not None and found[1]["identity"] == run.identity:
        states.admit_processes(folder, found[1]["processes"], run.processes)
        step = found[0]
    elif found is not None:
        print(
            f"the state in {folder} belongs to another configuration or model: starting anew",
            flush=True,
        )
        states.remove_states(folder)
    run.step = from_rank_zero(step, place)
    if run.step:
        run.load_state_dict(states.load_state(folder, run.step, place.device))


def _views(
    settings: FineTuneSettings, fit: FineTune, train: ImageSet, place: Place
) -> TrainingViews:
    crop_and_flip = settings.views.model_copy(
        update={
            "scale": (0.08, 1.0),
            "full_views": 1,
            "small_views": 0,
            "interpolation": "bilinear",
            "flip": "after_crop",
            "jitter_probability": 0.0,
            "gray_probability": 0.0,
            "blur_probability": (0.0,),
            "solarize_probability": (0.0,),
            "normalization_std": settings.normalization_std,
        }
    )
    return TrainingViews(
        train,
        crop_and_flip,
        settings.images,
        fit.batch_size,
        settings.seed,
        settings.workers,
        place.device,
        place.rank,
        place.world_size,
    )


def fine_tune(
    run: Run,
    settings: FineTuneSettings,
    fit: FineTune,
    train: ImageSet,
    test: ImageSet,
    folder: Path,
    place: Place,
    stop: Event,
    done: Callable[[Tensor], None] | None,
) -> None:
    """All remaining steps; states are saved, and signals heeded, between two of them.

    ``done`` is called with the loss after every step.
    """
    views, network = _views(settings, fit, train, place), parallel(run.network, place)
    steps, saved = steps_per_epoch(len(train), fit.batch_size), time.perf_counter()
    for images, labels in _batches(views, run.step, steps, fit.epochs):
        epoch = run.step // steps
        rates = _set_rates(run.optimizer, fit, epoch)
        network.train()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.sums += _over_processes(loss.detach(), len(images), place)
        run.step += 1
        if run.step % steps == 0:
            _end_epoch(run, settings, test, place, rates[0])
        if done is not None:
            done(loss)
        due = time.perf_counter() - saved >= SAVE_SECONDS or run.step == steps * fit.epochs
        stopping, due = on_any_rank((stop.is_set(), due), place)
        if (stopping or due) and place.rank == 0:
            states.save_state(folder, run.step, run.state_dict())
        if due:
            saved = time.perf_counter()
        if stopping:
            print(f"stopped after step {run.step}; start again to go on", flush=True)
            raise states.Interrupted


def _batches(
    views: TrainingViews, first: int, steps: int, epochs: int
) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in range(first // steps, epochs):
        for (images,), labels in views.epoch(epoch, max(first - epoch * steps, 0)):
            yield images.contiguous(memory_format=torch.channels_last), labels


def _set_rates(optimizer: LARS, fit: FineTune, epoch: int) -> list[float]:
    """Rates of trunk and head in an epoch."""
    rates = [
        epoch_rate(rate, epoch, fit.epochs, fit.milestones, FACTOR)
        for rate in (fit.backbone_learning_rate, fit.head_learning_rate)
    ]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return rates


def _over_processes(loss: Tensor, images: int, place: Place) -> Tensor:
    sums = torch.stack([loss.double() * images, loss.new_tensor(images, dtype=torch.float64)])
    if place.world_size > 1:
        dist.all_reduce(sums)
    return sums


def _end_epoch(
    run: Run, settings: FineTuneSettings, test: ImageSet, place: Place, rate: float
) -> None:
    epoch, mean = len(run.history) + 1, float(run.sums[0] / run.sums[1])
    refuse_diverged(mean, "fine-tuning", epoch)
    run.predictions = _classify(run.network, settings, test, place)
    top1 = 100 * float(np.mean(run.predictions.numpy() == test.labels))
    run.history.append(Epoch(epoch, top1, mean, rate))
    run.sums.zero_()
    if place.rank == 0:
        print(f"epoch {epoch}: loss {mean:.4f}, top-1 {top1:.2f} %", flush=True)


@torch.inference_mode()
def _classify(
    network: nn.Module, settings: FineTuneSettings, test: ImageSet, place: Place
) -> Tensor:
    """Predictions for the test images, which the processes share."""
    network.eval()
    found = torch.zeros(len(test), dtype=torch.int64, device=place.device)
    if place.world_size > 1:
        for buffer in network.buffers():  # running statistics of one process for all
            dist.broadcast(buffer, 0)
    share = -(-len(test) // place.world_size)
    at, last = place.rank * share, min((place.rank + 1) * share, len(test))
    for images in evaluation_batches(
        test,
        settings.images,
        "center",
        settings.normalization_std,
        settings.pipeline,
        settings.batch_size,
        workers=settings.workers,
        first=at,
        last=last,
        device=place.device,
    ):
        logits = network(images.contiguous(memory_format=torch.channels_last))
        found[at : at + len(images)] = logits.argmax(dim=1)
        at += len(images)
    if place.world_size > 1:
        dist.all_reduce(found)
    return found.cpu()
