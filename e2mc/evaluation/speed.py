"""How fast this machine does each kind of work of an experiment: `e2mc doctor --benchmark`.

The steps are those of the stages, on the experiment's own images and with its loader processes;
only the weights are random and nothing is kept. On a CPU a job of the workflow has one core, and
small steps stand for the recipe's.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, count
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from e2mc.config import Experiment, stages
from e2mc.config.fits import LinearFit
from e2mc.data.evaluation_views import View, consecutive
from e2mc.data.image_set import open_images
from e2mc.data.imagenet import open_imagenet
from e2mc.data.views import TrainingViews
from e2mc.errors import E2MCError
from e2mc.evaluation.fine_tuning import views_of
from e2mc.evaluation.frozen import feature_map, seen
from e2mc.evaluation.probe import Head, Probe
from e2mc.models.backbone import build_backbone
from e2mc.plan.jobs import jobs
from e2mc.plan.speeds import Speeds
from e2mc.plan.work import Images, work
from e2mc.training.distributed import Place, find_place
from e2mc.training.optim import LARS, build_optimizer
from e2mc.training.run import build_run
from e2mc.training.step import autocast, loss_of, update

SECONDS = 120.0
"""For all kinds of work together."""
_VALUES = 2**17
"""Pixels of a batch on a CPU, which gains nothing from larger ones."""
_ROWS = 2**14
"""Samples of the probe that is measured."""

Steps = Iterator[int]
"""Each step says how much it has done."""


def measure(experiment: Experiment, images: Images, seconds: float = SECONDS) -> Speeds:
    """Run each kind of work for a share of the time.

    Args:
        experiment: whose kinds, on its own data.
        images: of each data set.
        seconds: in all; the first step of each kind comes on top.

    Raises:
        E2MCError: the data cannot be used, or the GPU's memory is too small for any step.
    """
    place = find_place()
    if place.device.type == "cpu":
        torch.set_num_threads(1)
    kinds = sorted({kind for job in jobs(experiment) for kind in work(experiment, job, images)})
    rates = {}
    for kind in kinds:
        name, _, variant = kind.partition(" ")
        begin = partial(_KINDS[name], experiment, variant, place)
        rates[kind] = _rate(kind, begin, seconds / len(kinds), place.device)
    return Speeds(_machine(place.device), rates)


def _rate(kind: str, begin: Callable[[int], Steps], seconds: float, device: torch.device) -> float:
    """Work per second, of the largest batch that fits into a GPU's memory."""
    for halved in range(10):
        try:
            return _timed(begin(2**halved), seconds, device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    raise E2MCError(f"{kind}: not even a small batch fits into the memory of {_machine(device)}")


def _timed(steps: Steps, seconds: float, device: torch.device) -> float:
    next(steps)  # this one also starts loader processes and chooses kernels
    _wait(device)
    began, done = time.perf_counter(), 0
    while True:
        done += next(steps)
        _wait(device)
        if (spent := time.perf_counter() - began) >= seconds:
            return done / spent


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(": ")[2] for line in facts if line.startswith("model name")]
    return f"core of {names[0]}" if names else "core"


def _batch(wanted: int, size: int, halves: int, device: torch.device) -> int:
    if device.type == "cpu":
        wanted = min(wanted, max(8, _VALUES // size**2))
    return max(2, wanted // halves)


def _pretraining(experiment: Experiment, method: str, place: Place, halves: int) -> Steps:
    base = next(one for one in experiment.bases if experiment.recipe(one).method == method)
    criterion = "e2mc" if method in experiment.criteria.get("e2mc", {}) else "continued"
    settings = stages.pretrain_settings(experiment, base, criterion, trial=0)
    training, size = settings.training, settings.images.size
    data = TrainingViews(
        open_imagenet(settings.data, "train"),
        settings.recipe.views,
        settings.images,
        _batch(training.batch_size, size, halves, place.device),
        settings.seed,
        settings.workers,
        place.device,
        drop_last=True,
        skip_corrupt=settings.corrupt_images == "skip",
    )
    run, precision = build_run(settings, None, place), autocast(training.precision, place.device)
    for views, _ in chain.from_iterable(map(data.epoch, count())):
        loss, _ = loss_of(run, run.module, views, precision, Path("nowhere"))
        update(run, loss)
        yield len(views[0])


def _forward(experiment: Experiment, precision: str, place: Place, halves: int) -> Steps:
    base = next(iter(experiment.bases))
    extraction = stages.extract_settings(experiment, base, 0, ("imagenet",))
    settings = extraction.model_copy(update={"precision": precision})
    images = open_images("imagenet", settings.datasets["imagenet"].data, "train")
    trunk = build_backbone(settings.backbone).eval().to(place.device)
    trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = _batch(settings.batch_size, settings.images.size, halves, place.device)
    for epoch in count():
        batches = consecutive(0, len(images), batch)
        shown = seen(settings, images, [View("random", epoch)], batches, place.device)
        for view in shown:
            with torch.inference_mode():
                trunk.pool(feature_map(settings, trunk, view)).to(torch.float16).cpu()
            yield len(view)


def _fine_tuning(experiment: Experiment, variant: str, place: Place, halves: int) -> Steps:
    base = next(one for one in experiment.bases if experiment.recipe(one).semisup)
    settings = stages.semisup_settings(experiment, base, trial=0)
    fit = next(iter(settings.fits.values()))
    batch = _batch(fit.batch_size, settings.images.size, halves, place.device)
    train = open_imagenet(settings.data, "train")
    data = views_of(settings, fit.model_copy(update={"batch_size": batch}), train, place)
    network = nn.Sequential(
        build_backbone(settings.backbone),
        nn.Linear(settings.backbone.feature_dimension, len(train.classes)),
    )
    network.to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = [{"params": list(part.parameters())} for part in network]
    optimizer: LARS = build_optimizer(groups, settings.optimizer, learning_rate=0.0)
    for (views,), labels in chain.from_iterable(map(data.epoch, count())):
        F.cross_entropy(network(views), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        yield len(views)


def _probing(experiment: Experiment, variant: str, place: Place, halves: int) -> Steps:
    """Features lie in memory: what a slower disk takes comes on top."""
    classes, dimension = 1000, experiment.backbone.feature_dimension
    labels = np.arange(_ROWS // halves) % classes
    features = torch.randn(len(labels), dimension).to(place.device, torch.float16)
    none = np.zeros((1, dimension), np.float16)
    for _ in count():
        head = Head(LinearFit(learning_rate=0.1, epochs=1), seed=0)
        Probe(labels, none, labels[:1], classes, [head]).train(features)
        yield features.nbytes


_KINDS: dict[str, Callable[[Experiment, str, Place, int], Steps]] = {
    "pretrain": _pretraining,
    "forward": _forward,
    "fine-tune": _fine_tuning,
    "probe": _probing,
}
