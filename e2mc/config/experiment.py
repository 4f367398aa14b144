"""One YAML file is one experiment: its typed form, and how it is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from e2mc.config.criteria import Criterion
from e2mc.config.evaluation import Evaluation
from e2mc.config.methods import AnyRecipe, Backbone, Method, Methods, Training
from e2mc.config.strict import Strict, read_mapping, validated

UNTRAINED = ("base", "continued")
"""Criteria that add no term: the checkpoint as it is, and trained on with the base loss alone."""


class ImageNetData(Strict):
    """`train/<wnid>/*.JPEG`, `val/<wnid>/*.JPEG` and the small label lists."""

    root: Path = Path("data/imagenet")
    """Folder of the class folders of both splits."""
    lists: dict[int, Path] = {
        1: Path("data/imagenet/1percent.txt"),
        10: Path("data/imagenet/10percent.txt"),
    }
    """Per cent of labels -> list in SimCLR's format, one file name per line."""


class TreeData(Strict):
    """A transfer data set: `train/<class>/*` and `test/<class>/*` (or `val/<class>/*`)."""

    root: Path
    """Folder of the class folders of both splits."""


TreeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


class Data(Strict):
    """Where the data sets lie, and who makes them if they are not there."""

    prepare: Literal["digits", "cifar10"] | None = None
    """`digits`: write scikit-learn's digits as the data sets below, of `transfer` the tree
    `inverted`; `cifar10`: download CIFAR-10 or read `cifar10_source`; null: the folders are
    there already."""
    cifar10_source: Path | None = None
    """Folder with `train/<class>/*` and `test/<class>/*` images instead of the download."""
    cifar10_per_class: int | None = Field(None, ge=1)
    """Training images of each class that are kept; null: all 5,000."""
    imagenet: ImageNetData = ImageNetData()
    """ImageNet, or any folder of class folders: pre-training, linear, semi-supervised."""
    inat18: Path | None = Path("data/inat18")
    """Folder with `train2018.json`, `val2018.json` and `train_val2018/`; null: no such table."""
    voc07: Path | None = Path("data/VOCdevkit/VOC2007")
    """Folder with `JPEGImages`, `Annotations` and `ImageSets/Main`; null: no such table."""
    transfer: dict[TreeName, TreeData] = {}
    """Name -> any folder of class folders, for `few_shot` evaluation: `flowers: {root: ...}`. The
    names of other data sets and protocols are taken."""
    evaluate_on: Literal["test", "validation"] = "test"
    """`validation` holds out part of the training images and never opens the test images: the
    place to choose weights and learning rates."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the training images that `evaluate_on: validation` holds out."""
    workers: int = Field(0, ge=0)
    """Loader processes per training process (all pipelines but `tensor`)."""
    corrupt_images: Literal["stop", "skip"] = "stop"
    """Pre-training on an image that cannot be decoded: `stop` and name it; or `skip`: the next
    decodable image of the data set takes its place, and `corrupt_images` in history.csv counts it.
    Evaluations always stop: their numbers are of all images."""

    def root(self, dataset: str) -> Path | None:
        """Folder of an evaluation data set; None: there is none."""
        if dataset in self.transfer:
            return self.transfer[dataset].root
        found = getattr(self, dataset, None)
        return found.root if isinstance(found, ImageNetData) else found


class Images(Strict):
    """Sizes in pixels."""

    size: int = Field(224, ge=1)
    """Full crops in training and evaluation."""
    small_size: int = Field(96, ge=1)
    """Small crops of multi-crop."""
    evaluation_resize: int = Field(256, ge=1)
    """Shorter side before the centre crop."""


class Base(Strict):
    """A base model: a method, and a checkpoint that is fetched, given, or made from scratch."""

    method: Method
    """The method that trained it."""
    epochs: int = Field(ge=1)
    """Epochs it was trained for (shown in the tables)."""
    checkpoint: str | None = None
    """Name in config/downloads.csv, or a path; null: trained by `methods.<method>.scratch`."""
    criteria: tuple[str, ...] = ("continued", "e2mc")
    """Names under `criteria` (or `continued`) with which it is trained further."""
    published: str | None = None
    """The row of the paper it stands for, e.g. `vicreg-1000`."""

    @property
    def registered(self) -> str | None:
        """The checkpoint's name in the registry; None for a path, which has a suffix, or none."""
        named = self.checkpoint is not None and not Path(self.checkpoint).suffix
        return self.checkpoint if named else None


class Ablation(Strict):
    """Table D.2: the E2MC weights on a grid."""

    base: str
    """Base model."""
    criterion: str = "e2mc"
    """The criterion whose two weights are varied."""
    grid: tuple[tuple[float, float], ...] = (
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 25),
        (1, 0.1),
        (0.1, 1),
        (1, 1),
        (1, 10),
        (10, 1),
        (10, 25),
        (0.1, 25),
        (0, 25),
    )
    """(beta, gamma) in units of `unit`, in the paper's order; (0, 0) is `continued`."""
    unit: tuple[float, float] = (1.0, 1.0)
    """What one unit of the grid means: the demo scales both weights."""
    trials: int = Field(1, ge=1)
    """Trials per cell (the paper prints no standard error: one)."""


class Tables(Strict):
    """Which bases the single-base tables and figures show."""

    table3: str | None = None
    """Base of Table 3 (paper: SwAV, 800 epochs)."""
    table_d1: str | None = None
    """Base of Table D.1 (paper: VICReg)."""
    table_d2: Ablation | None = None
    """Table D.2; null: none."""
    table_transfer: tuple[str, ...] | None = None
    """Bases of the table of few-shot transfer; null: all. There is none without `data.transfer`."""


class Experiment(Strict):
    """A complete experiment."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """Results are written to `results/<name>`."""
    description: str = ""
    """What it should reach and how long it takes, in a sentence or two."""
    seed: int = Field(0, ge=0)
    """Everything random is derived from it, the trial and the stage."""
    trials: int = Field(3, ge=1)
    """Repetitions of everything random (paper: three)."""
    comparable: bool = False
    """Whether the published numbers are a target (full scale) or only shown beside."""
    data: Data = Data()
    """Data sets."""
    images: Images = Images()
    """Image sizes."""
    backbone: Backbone = Backbone()
    """The trunk."""
    methods: Methods = Methods()
    """Recipes of the base methods."""
    bases: dict[str, Base]
    """Base models by name; the name appears in paths and must be a plain word."""
    criteria: dict[str, dict[Method, Criterion]]
    """Criterion name -> base method -> kind and weights."""
    evaluation: Evaluation = Evaluation()
    """Protocols."""
    tables: Tables = Tables()
    """Single-base tables."""
    tensorboard: bool = False
    """Pre-training also writes TensorBoard events: `tensorboard --logdir results/<name>/.runs`."""

    @model_validator(mode="after")
    def _names_exist(self) -> "Experiment":
        for name, base in self.bases.items():
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"bases.{name}: use letters, digits, '-' and '_' only")
            for criterion in base.criteria:
                if criterion != "continued" and base.method not in self.criteria.get(criterion, {}):
                    raise ValueError(
                        f"bases.{name}.criteria: '{criterion}' has no weights for {base.method}; "
                        f"add criteria.{criterion}.{base.method} or use one of "
                        f"{', '.join(['continued', *self._criteria_of(base.method)])}"
                    )
            if base.checkpoint is None and self.recipe(name).scratch is None:
                raise ValueError(
                    f"bases.{name}: give `checkpoint`, or methods.{base.method}.scratch to train it"
                )
        ablation = self.tables.table_d2.base if self.tables.table_d2 else None
        for key, base_name in (
            ("table3", self.tables.table3),
            ("table_d1", self.tables.table_d1),
            ("table_d2.base", ablation),
            *(("table_transfer", base) for base in self.tables.table_transfer or ()),
        ):
            if base_name is not None and base_name not in self.bases:
                raise ValueError(
                    f"tables.{key}: no base '{base_name}'; bases: {', '.join(self.bases)}"
                )
        return self

    @model_validator(mode="after")
    def _trees_have_names_of_their_own(self) -> "Experiment":
        for name in self.data.transfer:
            if name in (*Data.model_fields, *Evaluation.model_fields, "embeddings"):
                raise ValueError(f"data.transfer.{name}: the name is taken, choose another")
        return self

    def _criteria_of(self, method: Method) -> list[str]:
        return [name for name, methods in self.criteria.items() if method in methods]

    def recipe(self, base: str) -> AnyRecipe:
        """Recipe of a base model's method."""
        recipe: AnyRecipe = getattr(self.methods, self.bases[base].method)
        return recipe

    def training(self, base: str, *, scratch: bool) -> Training:
        """Schedule of a base model's own training or of its continuation."""
        recipe = self.recipe(base)
        schedule = recipe.scratch if scratch else recipe.continued
        assert isinstance(schedule, Training)
        return schedule


def parse_experiment(content: Mapping[str, Any], source: str) -> Experiment:
    """Validate a mapping; ``source`` names it in the error.

    Raises:
        E2MCError: one line per mistake, each with its dotted key.
    """
    return validated(Experiment, content, source, "config/README.md")


def load_experiment(path: Path | str) -> Experiment:
    """Read and validate one YAML file.

    Raises:
        E2MCError: no such file, not YAML, or not a valid experiment.
    """
    return parse_experiment(read_mapping(path), str(path))
