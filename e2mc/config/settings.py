"""What a stage may see of an experiment: one model per stage, made in `stages.py`.

Fields marked `exclude=True` change no result. They are in no dump, so that a change of theirs
reruns nothing and a saved state stays valid.
"""

from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, PlainSerializer, field_serializer

from e2mc.config.criteria import Criterion
from e2mc.config.evaluation import Neighbours
from e2mc.config.experiment import Ablation, Base, Images
from e2mc.config.fits import FineTune, LinearFit
from e2mc.config.methods import AnyRecipe, Backbone, Optimizer, Recipe, Training, Views
from e2mc.config.strict import Strict

Kind = Literal["pooled", "quarters"]
"""`pooled`: D globally averaged channels; `quarters`: the 2x2-pooled maps, channel by channel."""

KIND_VALUES: dict[Kind, int] = {"pooled": 1, "quarters": 4}
"""Values of a kind, in units of D."""

Options = TypeVar("Options")


def _without_schedules(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude={"continued", "scratch"})


PlainRecipe = Annotated[AnyRecipe, PlainSerializer(_without_schedules)]
"""A recipe whose two schedules are in no dump: a stage that trains has its own beside it."""


class ImageNetSettings(Strict):
    """ImageNet-style data as a stage reads it."""

    root: Path
    lists: dict[int, Path]
    validation_fraction: float | None
    """None: the test images are `val`; else this share of `train` stands in for them."""


class ImportSettings(Strict):
    """The model that an official checkpoint must fit, key by key."""

    recipe: AnyRecipe
    backbone: Backbone

    @field_serializer("recipe")
    def _shape(self, recipe: Recipe) -> dict[str, Any]:
        return recipe.model_dump(mode="json", include={"method": True, **recipe.shape})


class OnGPU(Strict):
    """A stage that sends images through a network."""

    tf32: bool = True
    deterministic: bool = False


class TrainSettings(OnGPU):
    """Pre-training, from scratch or continued."""

    recipe: PlainRecipe
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
    snapshots: tuple[int, ...] = Field((), exclude=True)
    """Epochs after which the trunk is kept as it is then, beyond those of `training` if need be:
    they change nothing in the model of its last epoch."""

    @property
    def epochs(self) -> int:
        """Of the whole run: those of the model, or as far as the snapshots go."""
        return max((self.training.epochs, *self.snapshots))


class Crops(Strict):
    """How the images of one split are seen."""

    views: int = 0
    """Random crops, each with a flip, as probes are trained."""
    fixed: Literal["center", "squash"] | None = "center"
    """The crop without randomness; null: none."""


class DataSetSettings(Strict):
    """An evaluation data set as an extraction reads it."""

    data: ImageNetSettings | Path
    train: Crops
    test: Crops
    kinds: tuple[Kind, ...] = ("pooled",)
    """Features cached from one pass; the first has the plain folder name."""
    normalization_std: tuple[float, float, float] | None = None
    """Instead of that of all evaluations."""


class FrozenSettings(OnGPU):
    """Forward passes of one model's trunk on random views and fixed crops."""

    backbone: Backbone
    images: Images
    normalization_std: tuple[float, float, float]
    pipeline: Literal["pillow", "fast", "tensor"]
    precision: Literal["float32", "float16", "bfloat16"]
    flip_probability: float
    batch_size: int
    workers: int = Field(exclude=True)
    seed: int


class ExtractSettings(FrozenSettings):
    """Feature extraction of one model on one or several data sets."""

    recipe: PlainRecipe
    datasets: dict[str, DataSetSettings]
    embedding_samples: int


class LinearOnlineSettings(FrozenSettings):
    """Linear probes that see a fresh view of their ImageNet images in every epoch."""

    fits: dict[int, LinearFit]
    data: ImageNetSettings
    products: Literal["float32", "bfloat16"]
    """Precision of the probe, where `precision` is that of the trunk."""


class LinearSettings(Strict):
    """Linear probes on one model's cached ImageNet features."""

    fits: dict[int, LinearFit]
    views: dict[int, int]
    """Share of the labels -> cached views that its epochs go over."""
    lists: dict[int, Path]
    precision: Literal["float32", "bfloat16"]
    seed: int


class ProtocolSettings(Strict, Generic[Options]):
    """A protocol on cached features that depends on its own options alone."""

    protocol: Options
    seed: int


class FineTuneSettings(OnGPU):
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


class SnapshotSettings(OnGPU):
    """Linear probes of trunks, on fresh views of the listed training images."""

    backbone: Backbone
    images: Images
    percent: int
    fit: LinearFit
    data: ImageNetSettings
    normalization_std: tuple[float, float, float]
    pipeline: Literal["pillow", "tensor"]
    flip_probability: float
    batch_size: int
    precision: Literal["float32", "bfloat16"]
    workers: int = Field(exclude=True)
    seed: int


class KNNSettings(Strict):
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
