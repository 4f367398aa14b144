"""A fine-tuning that takes a fraction of a second."""

import numpy as np
import torch
from PIL import Image

from e2mc.config.experiment import Images
from e2mc.config.fits import FineTune
from e2mc.config.methods import Backbone, Optimizer, Views
from e2mc.config.settings import FineTuneSettings, ImageNetSettings
from e2mc.models import build_backbone, save_model

BACKBONE = Backbone(layers=(1, 1, 1, 1), width=2, stem="cifar", block="basic")
EPOCHS = 4
STD = (0.228, 0.224, 0.225)


def write_data(root):
    """Two classes of small images, their label lists, and a model."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 5)):
        for label, name in enumerate(("n01", "n02")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(80 + 80 * label, 50, size=(20, 20, 3)), 0, 255)
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(root / split / name / f"{name}_{i}.JPEG", format="PNG")
    for percent, count in ((1, 3), (10, 7)):
        lines = [f"{name}_{i}.JPEG\n" for i in range(count) for name in ("n02", "n01")]
        (root / f"{percent}.txt").write_text("".join(lines))
    torch.manual_seed(0)
    weights = build_backbone(BACKBONE).state_dict()
    state = {f"backbone.{name}": tensor for name, tensor in weights.items()}
    save_model({**state, "projector.0.weight": torch.ones(2, 2)}, root / "model.safetensors", {})
    return root


def settings(root, **changes):
    recipe = {"backbone_learning_rate": 0.02, "head_learning_rate": 0.5, "epochs": EPOCHS}
    content = {
        "backbone": BACKBONE,
        "images": Images(size=12, evaluation_resize=14),
        "fits": {
            1: FineTune(**recipe, batch_size=4, milestones=(1, 3)),
            10: FineTune(**recipe, batch_size=6),
        },
        "batch_norm": "synchronised",
        "optimizer": Optimizer(rule="sgd"),
        "data": ImageNetSettings(
            root=root, lists={p: root / f"{p}.txt" for p in (1, 10)}, validation_fraction=None
        ),
        "views": Views(pipeline="tensor", scale=(0.5, 1.0)),
        "pipeline": "tensor",
        "normalization_std": STD,
        "batch_size": 4,
        "workers": 0,
        "seed": 6,
    }
    return FineTuneSettings(**{**content, **changes})
