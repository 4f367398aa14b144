"""Fine-tuning of a trunk and a new linear head, resumable at any step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config.fits import FineTune
from e2mc.config.settings import FineTuneSettings
from e2mc.data.evaluation_views import evaluation_batches
from e2mc.data.image_set import ImageSet
from e2mc.data.views import TrainingViews
from e2mc.evaluation.frozen import load_trunk
from e2mc.evaluation.results import Epoch, refuse_diverged
from e2mc.evaluation.schedule import epoch_rate
from e2mc.files import digest, sha256
from e2mc.training.distributed import Place, parallel, synchronise_batch_norm
from e2mc.training.optim import LARS, build_optimizer
from e2mc.training.resumable import States, remaining, show_life

FACTOR = 0.2
"""What milestones multiply the rates by (SwAV's official `eval_semisup.py`)."""


@dataclass
class Run:
    """A network being fine-tuned, see `e2mc.training.resumable.Resumable`.

    Attributes:
        identity: hash of all that decides the outcome.
        network: trunk and head.
        optimizer: of both, a group each.
        sums: summed loss and number of images of the epoch under way, over all processes.
        processes: how many it ran on, one number per change.
        history: finished epochs.
        step: steps done.
        predictions: (test images,), after the last finished epoch.
    """

    identity: str
    network: nn.Sequential
    optimizer: LARS
    sums: Tensor
    processes: list[int]
    history: list[Epoch] = field(default_factory=list)
    step: int = 0
    predictions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sums": self.sums,
            "history": [list(epoch) for epoch in self.history],
            "predictions": self.predictions,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same identity."""
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
    network = nn.Sequential(load_trunk(settings.backbone, model), head)
    network.to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.batch_norm == "synchronised":
        synchronise_batch_norm(network, place)
    groups = [{"params": list(part.parameters())} for part in network]
    optimizer = build_optimizer(groups, settings.optimizer, learning_rate=0.0)
    plain = settings.model_dump(mode="json", exclude={"batch_size", "fits"})
    fit = settings.fits[percent].model_dump()
    identity = digest([plain, percent, fit, sha256(model)])
    sums = torch.zeros(2, dtype=torch.float64, device=place.device)
    return Run(identity, network, optimizer, sums, [place.world_size])


def views_of(
    settings: FineTuneSettings, fit: FineTune, train: ImageSet, place: Place
) -> TrainingViews:
    """Random crops with a flip, as SwAV's `eval_semisup.py` has them."""
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
    states: States,
    done: Callable[[Tensor], None] | None,
) -> None:
    """All remaining steps; ``done`` is called with the loss after each."""
    place = states.here.place
    data, network = views_of(settings, fit, train, place), parallel(run.network, place)
    for (images,), labels, _ in remaining(run, data, fit.epochs):
        rates = _set_rates(run.optimizer, fit, run.step // data.steps)
        network.train()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.sums += _over_processes(loss.detach(), len(images), place)
        run.step += 1
        if run.step % data.steps == 0:
            _end_epoch(run, settings, test, place, rates[0])
        if done is not None:
            done(loss)
        states.between_steps(run, last=data.steps * fit.epochs)


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
        show_life()
    if place.world_size > 1:
        dist.all_reduce(found)
    return found.cpu()
