"""Small trainings for children that may use a GPU: spawned, because CUDA survives no fork."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from e2mc.config.criteria import Criterion
from e2mc.config.experiment import Images
from e2mc.config.methods import Backbone
from e2mc.config.settings import TrainSettings
from e2mc.data.views import TrainingViews
from e2mc.methods import Method
from e2mc.training.distributed import Place, parallel
from e2mc.training.loop import _open_data
from e2mc.training.optim import set_learning_rate
from e2mc.training.run import Run, build_run
from e2mc.training.step import autocast, loss_of, update
from tests.training.tiny import CRITERION, tiny_settings, train

ALONE = Place(0, 1, 0)
TRUNK = Backbone(layers=(1, 1, 1, 1), width=8)
"""A small ResNet with everything that the large one has: bottlenecks, pooling, strides."""


def settings_of(
    images: Path,
    method: str,
    criterion: Criterion | None = CRITERION,
    *,
    deterministic: bool = False,
    **training: object,
) -> TrainSettings:
    """Tiny heads and batches on views of 64 pixels, made on the device."""
    settings = tiny_settings(images, method, criterion, **{"learning_rate": 0.01, **training})
    views = settings.recipe.views.model_copy(update={"pipeline": "device"})
    recipe = settings.recipe.model_copy(update={"views": views})
    sizes = Images(size=64, small_size=48, evaluation_resize=64)
    changes = {
        **{"recipe": recipe, "images": sizes, "backbone": TRUNK},
        **{"deterministic": deterministic, "tf32": False},
    }
    return settings.model_copy(update=changes)


def steps(run: Run, settings: TrainSettings, place: Place, number: int) -> Iterator[Tensor]:
    """So many steps as the loop does them; the loss of each, after its update."""
    set_learning_rate(run.optimizer, settings.training.learning_rate)
    network = parallel(run.module, place)
    precision = autocast(settings.training.precision, place.device)
    data: TrainingViews = _open_data(settings, place)
    batches = chain.from_iterable(data.epoch(epoch) for epoch in count())
    for views, _ in islice(batches, number):
        ordered = [view.contiguous(memory_format=torch.channels_last) for view in views]
        loss, _ = loss_of(run, network, ordered, precision, Path("state"))
        update(run, loss)
        yield loss


def new_run(settings: TrainSettings, place: Place = ALONE) -> Run:
    """With a scaler on CPUs too, where float16 becomes bfloat16."""
    run = build_run(settings, None, place)
    if place.device.type == "cpu" and settings.training.precision == "float16":
        run.scaler = torch.amp.GradScaler("cpu")
    return run


def stop_after(step: int, settings: TrainSettings, folder: Path) -> None:
    """Train; Slurm's warning comes to rank 1, or to the only one, after a step."""
    last = int(os.environ["WORLD_SIZE"]) - 1

    def warn(method: Method, done: int, steps: int) -> None:
        if done == step and int(os.environ["RANK"]) == last:
            signal.raise_signal(signal.SIGUSR2)

    Method.after_step = warn  # type: ignore[method-assign]
    train(settings, folder)


def keep_every_state(settings: TrainSettings, folder: Path) -> None:
    """Train and keep the state of the last step."""
    with patch("e2mc.training.loop.remove_states"):
        train(settings, folder)


def started(
    function: Callable[..., object], *arguments: object, processes: int = 1
) -> list[BaseProcess]:
    """Call a function in new processes that are to work together."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context, children = multiprocessing.get_context("spawn"), []
    for rank in range(processes):
        environment = {
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        }
        child = context.Process(target=_call, args=(environment, function, *arguments))
        child.start()
        children.append(child)
    return children


def ended(children: list[BaseProcess], status: int = 0, seconds: float = 120) -> None:
    """Wait for children that must end with this status; none is left behind."""
    for child in children:
        child.join(seconds)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert codes == [status] * len(codes), codes


def _call(environment: dict[str, str], function: Callable[..., object], *arguments: object) -> None:
    os.environ.update(environment)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    function(*arguments)
