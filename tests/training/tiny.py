"""A training that takes a fraction of a second, in this process, in a child, or as a script."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from e2mc.config.criteria import E2MC, Criterion
from e2mc.config.experiment import Images
from e2mc.config.methods import (
    ER,
    MI,
    Backbone,
    BarlowTwins,
    SimSiam,
    SwAV,
    Training,
    VICReg,
    Views,
)
from e2mc.config.settings import ImageNetSettings, TrainSettings
from e2mc.training import loop

BACKBONE = Backbone(block="basic", layers=(1, 1, 1, 1), width=2, stem="cifar")
VIEWS = Views(pipeline="tensor", flip_probability=0)
RECIPES = {
    "vicreg": VICReg(projector=(16, 16, 16), views=VIEWS),
    "swav": SwAV(
        projector=(16, 8),
        prototypes=6,
        queue_length=16,
        views=Views(pipeline="tensor", flip_probability=0, small_views=1),
    ),
    "simsiam": SimSiam(projector=16, predictor=8, views=VIEWS),
    "er": ER(projector=(16, 16, 16), views=VIEWS),
    "barlow_twins": BarlowTwins(projector=(16, 16, 16), views=VIEWS),
    "mi": MI(projector=(16, 16, 16), views=VIEWS),
}
CRITERION = E2MC(space="hypersphere", entropy_weight=0.1, covariance_weight=1.0)
RESULTS = ("model.safetensors", "history.csv", "metrics.json")


def write_images(root: Path) -> Path:
    """Three classes of eight 10x10 images: stripes of three widths in random colours."""
    generator = np.random.default_rng(0)
    for label in range(3):
        folder = root / "train" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(8):
            stripes = (np.arange(10) + generator.integers(4)) // (label + 1) % 2
            colour = generator.integers(60, 256, 3)
            pixels = np.broadcast_to(stripes[None, :, None] * colour, (10, 10, 3))
            noisy = np.clip(pixels + generator.integers(0, 40, pixels.shape), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def tiny_settings(
    root: Path, method: str = "vicreg", criterion: Criterion | None = None, **training: object
) -> TrainSettings:
    schedule = {"epochs": 3, "batch_size": 8, "learning_rate": 0.3, **training}
    return TrainSettings(
        recipe=RECIPES[method],
        training=Training.model_validate(schedule),
        criterion=criterion,
        backbone=BACKBONE,
        images=Images(size=8, small_size=6, evaluation_resize=8),
        data=ImageNetSettings(root=root, lists={}, validation_fraction=None),
        corrupt_images="stop",
        tensorboard=False,
        workers=0,
        seed=3,
    )


def train(settings: TrainSettings, folder: Path, start: Path | None = None) -> Path:
    """Train with all results in one folder; returns the model's path."""
    outputs = [folder / name for name in RESULTS]
    loop.train(settings, start, *outputs, folder / "state")
    return outputs[0]


def in_children(
    function: Callable[..., object], *arguments: object, processes: int
) -> list[BaseProcess]:
    """Call a function in forked processes, which need not import torch again.

    A forked process hangs if it uses the OpenMP threads of its parent, so it has one thread.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = []
    for rank in range(processes):
        environment = {
            "RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        children.append(context.Process(target=_child, args=(environment, function, *arguments)))
        children[-1].start()
    return children


def join(children: list[BaseProcess], status: int = 0) -> None:
    """Wait for children that must end soon, with this status; none is left behind."""
    for child in children:
        child.join(60)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert codes == [status] * len(codes), codes


def _child(
    environment: dict[str, str], function: Callable[..., object], *arguments: object
) -> None:
    os.environ.update(environment, OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    if environment["RANK"] != "0":
        sys.stderr = sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    function(*arguments)


if __name__ == "__main__":
    images, results, epochs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    train(tiny_settings(images, criterion=CRITERION, epochs=epochs), results)
    sys.exit("torch._dynamo" in sys.modules)
