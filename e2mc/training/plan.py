"""What a run will do, beside what the paper did."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from e2mc.config.criteria import Criterion
from e2mc.config.methods import Optimizer, Training
from e2mc.config.protocols import IMAGENET_1K
from e2mc.config.settings import TrainSettings
from e2mc.training.distributed import Place
from e2mc.training.run import Run

PAPER_IMAGES = IMAGENET_1K.train
PAPER_PROCESSES = 2
FIRST_WITH_TF32 = (8, 0)
"""Compute capability of NVIDIA's Ampere."""

Plan = dict[str, tuple[Any, Any]]
"""What -> (this run, the paper); None: the paper has no such thing."""


def make_plan(
    settings: TrainSettings, start: Path | None, images: int, steps_per_epoch: int, place: Place
) -> Plan:
    """Everything that decides the outcome, derived quantities included."""
    recipe = settings.recipe
    published = start is not None and bool(recipe.paper_criteria)
    paper_recipe = type(recipe)()
    paper = paper_recipe.continued if published else None
    paper_steps = PAPER_IMAGES // paper.batch_size if paper else None
    if paper_steps and not recipe.drops_last:
        paper_steps += 1
    training = settings.training
    return {
        "model": (recipe.method, recipe.method if published else None),
        "starts from": (str(start) if start else "random weights", "the published checkpoint"),
        "criterion": (
            _criterion(settings.criterion),
            _criterion(_paper_criterion(settings)) if published else None,
        ),
        "images": (images, PAPER_IMAGES),
        "epochs": (training.epochs, paper and paper.epochs),
        "steps per epoch": (steps_per_epoch, paper_steps),
        "left out of an epoch": (
            _left_out(images, steps_per_epoch, training.batch_size),
            _left_out(PAPER_IMAGES, paper_steps, paper.batch_size)
            if paper and paper_steps
            else None,
        ),
        "steps": (
            training.epochs * steps_per_epoch,
            paper_steps * paper.epochs if paper and paper_steps else None,
        ),
        "effective batch": (training.batch_size, paper and paper.batch_size),
        "processes": (place.world_size, PAPER_PROCESSES),
        "effective learning rate": (_rate(training), paper and _rate(paper)),
        "optimizer": (_optimizer(recipe.optimizer), paper and _optimizer(paper_recipe.optimizer)),
        "precision": (_precision(settings, place), paper and paper.precision),
        "device": (place.device.type, "cuda"),
    }


def _left_out(images: int, steps: int, batch_size: int) -> str:
    return f"{max(0, images - steps * batch_size)} images"


def _rate(training: Training) -> str:
    text = f"{training.learning_rate:g} {training.schedule}"
    if training.warmup_epochs:
        text += f" after {training.warmup_epochs} epochs of warm-up"
    if training.predictor_learning_rate is not None:
        text += f", predictor {training.predictor_learning_rate:g}"
    return text


def _precision(settings: TrainSettings, place: Place) -> str:
    """The paper's GPUs were of a generation without TF32."""
    precision = settings.training.precision
    rounded = settings.tf32 and precision == "float32" and place.device.type == "cuda"
    if not rounded or torch.cuda.get_device_capability(place.device) < FIRST_WITH_TF32:
        return precision
    return f"{precision}, convolutions in TF32"


def _optimizer(optimizer: Optimizer) -> str:
    text = f"{optimizer.rule}, momentum {optimizer.momentum:g}, decay {optimizer.weight_decay:g}"
    if optimizer.rule == "sgd":
        return text
    text += f", trust {optimizer.trust:g}"
    if optimizer.clip:
        text += ", clipped"
    if optimizer.adapt_1d is not None:
        text += f", 1-d parameters {'adapted' if optimizer.adapt_1d else 'left out'}"
    return text


def _criterion(criterion: Criterion | None) -> str:
    if criterion is None:
        return "none"
    parameters = criterion.model_dump(exclude={"kind"})
    return ", ".join([criterion.kind, *(f"{key} {value}" for key, value in parameters.items())])


def _paper_criterion(settings: TrainSettings) -> Criterion | None:
    """The paper's criterion of the same kind for the same method, if it has one."""
    if settings.criterion is None:
        return None
    published = {criterion.kind: criterion for criterion in settings.recipe.paper_criteria}
    return published.get(settings.criterion.kind)


def first_step(run: Run, settings: TrainSettings) -> dict[str, Any]:
    """The base loss of the first step, beside what says whether the weights were read rightly."""
    return {
        "base_loss": run.first_loss,
        "nothing_learned": run.module.uninformed_loss(settings.training.batch_size),
        "reported": settings.recipe.reported_loss,
    }


def describe_first_step(found: Mapping[str, Any]) -> str:
    """One line of the plan's form."""
    beside = []
    if found["nothing_learned"] is not None:
        beside.append(f"{found['nothing_learned']:.4g} where nothing was learned")
    if found["reported"] is not None:
        beside.append("{:g} to {:g} reported on ImageNet".format(*found["reported"]))
    line = f"  {'first base loss':<24}{found['base_loss']:.4g}"
    return f"{line}  ({'; '.join(beside)})" if beside else line


def describe(plan: Plan) -> str:
    """The plan as aligned lines; a line says so where the paper did the same."""
    lines = []
    for what, (here, paper) in plan.items():
        line = f"  {what:<24}{here}"
        if paper is not None:
            line += "  (as the paper)" if here == paper else f"  (paper: {paper})"
        lines.append(line)
    return "\n".join(lines)
