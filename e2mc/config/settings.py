"""What a stage may see of an experiment: one model per stage, made in `stages.py`.

Fields marked `exclude=True` change no result. They are in no dump, so that a change of theirs
reruns nothing and a saved state stays valid.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from e2mc.config.criteria import Criterion
from e2mc.config.evaluation import VOC07, FineTune, INat18, LinearFit, Neighbours
from e2mc.config.experiment import Ablation, Base, Images
from e2mc.config.methods import Backbone, Method, Optimizer, Training, Views
from e2mc.config.strict import Strict

Dataset = Literal["imagenet", "inat18", "voc07"]


class ImageNetSettings(Strict):
    """ImageNet-style data as a stage reads it."""

    root: Path
    lists: dict[int, Path]
    validation_fraction: float | None
    """None: the test images are `val`; else this share of `train` stands in for them."""


class ImportSettings(Strict):
    """The model that an official checkpoint must fit, key by key."""

    method: Method
    recipe: dict[str, Any]
    backbone: Backbone


class TrainSettings(Strict):
    """Pre-training, from scratch or continued."""

    method: Method
    recipe: dict[str, Any]
    """The method's section (`methods.<method>`) without its two schedules."""
    training: Training
    criterion: Criterion | None
    backbone: Backbone
    images: Images
    data: ImageNetSettings
    corrupt_images: Literal["stop", "skip"] = Field(exclude=True)
    """A run that got somewhere with `stop` has met none: `skip` goes on where it stopped."""
    tensorboard: bool = Field(exclude=True)
    workers: int = Field(exclude=True)
    seed: int


class ExtractSettings(Strict):
    """Feature extraction of one model on one or several data sets."""

    method: Method
    recipe: dict[str, Any]
    backbone: Backbone
    images: Images
    datasets: dict[Dataset, int]
    """Data set -> number of augmented views of its training images."""
    inat18_pooled: bool
    imagenet: ImageNetSettings
    inat18: Path | None
    voc07: Path | None
    voc_resize: Literal["squash", "center-crop"]
    normalization_std: tuple[float, float, float]
    pipeline: Literal["pillow", "fast", "tensor"]
    flip_probability: float
    batch_size: int
    embedding_samples: int
    workers: int = Field(exclude=True)
    seed: int


class LinearSettings(Strict):
    """Linear probes on one model's cached ImageNet features, all shares of the labels."""

    fits: dict[int, LinearFit]
    lists: dict[int, Path]
    precision: Literal["float32", "bfloat16"]
    seed: int


class INatSettings(Strict):
    """The linear probe on cached iNat18 maps."""

    protocol: INat18
    seed: int


class FineTuneSettings(Strict):
    """Semi-supervised fine-tuning of one model, all shares of the labels."""

    backbone: Backbone
    images: Images
    fits: dict[int, FineTune]
    batch_norm: Literal["train", "synchronised"]
    optimizer: Optimizer
    data: ImageNetSettings
    views: Views
    pipeline: Literal["pillow", "fast", "tensor"]
    """Of the test images; `views` has that of the training images."""
    normalization_std: tuple[float, float, float]
    batch_size: int
    workers: int = Field(exclude=True)
    seed: int


class SVMSettings(Strict):
    """The VOC07 SVMs on cached features."""

    protocol: VOC07
    seed: int


class NeighbourSettings(Strict):
    """Nearest neighbours on cached ImageNet features, and distances between embeddings."""

    protocol: Neighbours
    space: Literal["hypercube", "hypersphere"]
    """The compact space of the base's E2MC criterion, in which distances are taken."""


class ReportingSettings(Strict):
    """What a table or figure shows beyond the evaluations that it is made from."""

    trials: int
    comparable: bool
    percents: tuple[int, ...]
    bases: dict[str, Base]
    spaces: dict[str, str]
    """Base -> the compact space of its E2MC criterion, in which marginals are drawn."""
    ablation: Ablation | None
