"""What changes while a model trains: built, saved and restored together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from e2mc.config.settings import TrainSettings
from e2mc.criteria import CRITERIA, Criterion
from e2mc.errors import E2MCError
from e2mc.files import digest, sha256
from e2mc.methods import Method, build_method
from e2mc.models import load_momentum, load_state, load_strict
from e2mc.training.distributed import Place, synchronise_batch_norm
from e2mc.training.history import History
from e2mc.training.optim import LARS, build_optimizer, set_momentum


@dataclass
class Run:
    """A model in training, see `e2mc.training.resumable.Resumable`.

    Attributes:
        identity: hash of all that decides the outcome.
        module: method with backbone and heads.
        criterion: what is added to the base loss, if anything.
        optimizer: of the module's parameters.
        scaler: of float16 gradients; does nothing otherwise.
        history: averages per epoch.
        step: steps done.
        skipped: how many steps the scaler has skipped in a row, up to now.
        processes: how many it ran on, one number per change.
        first_loss: base loss of the first step that was not skipped, before any update.
    """

    identity: str
    module: Method
    criterion: Criterion | None
    optimizer: LARS
    scaler: torch.amp.GradScaler
    history: History = field(default_factory=History)
    step: int = 0
    skipped: int = 0
    processes: list[int] = field(default_factory=list)
    first_loss: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""
        return {
            "module": self.module.state_dict(),
            "criterion": self.criterion.state_dict() if self.criterion is not None else {},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history.state_dict(),
            "skipped": self.skipped,
            "first_loss": self.first_loss,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same identity."""
        self.module.load_state_dict(state["module"])
        if self.criterion is not None:
            self.criterion.load_state_dict(state["criterion"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.history.load_state_dict(state["history"])
        self.skipped = state["skipped"]
        self.first_loss = state["first_loss"]


def build_run(settings: TrainSettings, start: Path | None, place: Place) -> Run:
    """A run at its first step.

    Args:
        settings: recipe, schedule, criterion, seed.
        start: weights to begin with, and momentum if it was imported; None: random weights.
        place: of this process.

    Raises:
        E2MCError: the weights do not fit the model, or views are too small for bfloat16 here.
    """
    torch.manual_seed(settings.seed)
    module = build_method(settings.recipe, settings.backbone)
    if place.device.type == "cpu" and settings.training.precision != "float32":
        _refuse_wrong_gradients(settings, module.backbone.one_pixel_size)
    if start is not None:
        load_strict(module, load_state(start), start)
    # 1.6 times as fast on CPUs, and what tensor cores want
    module.to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    synchronise_batch_norm(module, place)
    module.backbone.checkpointing = settings.training.checkpointing
    if settings.training.compile:
        module.backbone.compile()  # in place: names in the state dict stay
    criterion = None
    if settings.criterion is not None:
        parameters = settings.criterion.model_dump(exclude={"kind"})
        criterion = CRITERIA[settings.criterion.kind](**parameters).to(place.device)
    training = settings.training
    optimizer = build_optimizer(
        module.parameter_groups(training), settings.recipe.optimizer, training.learning_rate
    )
    if start is not None:
        set_momentum(optimizer, module, load_momentum(start))
    scaled = training.precision == "float16" and place.device.type == "cuda"
    scaler = torch.amp.GradScaler(place.device.type, enabled=scaled)
    identity = _identity(settings, start)
    processes = [place.world_size]
    return Run(identity, module, criterion, optimizer, scaler, processes=processes)


def _refuse_wrong_gradients(settings: TrainSettings, least: int) -> None:
    """oneDNN's bfloat16 weight gradient of a 3x3 convolution with stride 2 is not initialised
    where the map has one pixel (seen with PyTorch 2.13): numbers differ from run to run, some are
    infinite.
    """
    views = settings.recipe.views
    sizes = {"size": settings.images.size}
    if views.small_views:
        sizes["small_size"] = settings.images.small_size
    for key, size in sizes.items():
        if size <= least:
            raise E2MCError(
                f"images.{key}: views of {size} pixels shrink to one pixel before the last stage, "
                f"where PyTorch's gradients in bfloat16 on CPUs are wrong: use more than {least} "
                "pixels, another stem, or precision: float32"
            )


def _identity(settings: TrainSettings, start: Path | None) -> str:
    return digest([settings.model_dump(mode="json"), sha256(start) if start is not None else None])
