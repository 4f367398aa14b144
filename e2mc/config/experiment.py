"""One YAML file is one experiment: its typed form, and how it is read."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from e2mc.config.criteria import Criterion
from e2mc.config.evaluation import Evaluation
from e2mc.config.methods import AnyRecipe, Backbone, Method, Methods, Training
from e2mc.config.ranges import BaseName, CriterionName, Distinct, Positive, TreeName
from e2mc.config.strict import Strict, validated
from e2mc.config.yaml_file import read_mapping
from e2mc.errors import E2MCError

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


class Data(Strict):
    """Where the data sets lie, and who makes them if they are not there."""

    prepare: Literal["digits", "cifar10", "imagenet32"] | None = None
    """`digits`: write scikit-learn's digits as the data sets below, of `transfer` the tree
    `inverted`; `cifar10`: download CIFAR-10 or read `cifar10_source`; `imagenet32`: 200 classes of
    ImageNet at 32 pixels, of Tiny ImageNet's archive or `imagenet32_source`; null: the folders are
    there already."""
    cifar10_source: Path | None = None
    """Folder with `train/<class>/*` and `test/<class>/*` images instead of the download."""
    cifar10_per_class: int | None = Field(None, ge=1)
    """Training images of each class that are kept; null: all 5,000."""
    imagenet32_source: Path | None = None
    """Tiny ImageNet's archive or unpacked folder, or a folder with `train/<wnid>/*` and
    `val/<wnid>/*` images, instead of the download."""
    imagenet32_per_class: int | None = Field(None, ge=1)
    """Training images of each class that are kept; null: all 500."""
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
    workers: int = Field(0, ge=0, le=1024)
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

    size: int = Field(224, ge=1, le=10_000)
    """Full crops in training and evaluation."""
    small_size: int = Field(96, ge=1, le=10_000)
    """Small crops of multi-crop."""
    evaluation_resize: int = Field(256, ge=1, le=10_000)
    """Shorter side before the centre crop."""


class Base(Strict):
    """A base model: a method, and a checkpoint that is fetched, given, or made from scratch."""

    method: Method
    """The method that trained it."""
    epochs: int = Field(ge=1)
    """Epochs it was trained for (shown in the tables)."""
    checkpoint: str | None = None
    """Name in config/downloads.csv, or a path; null: trained by `methods.<method>.scratch`."""
    criteria: Annotated[tuple[str, ...], Distinct] = ("continued", "e2mc")
    """Names under `criteria` (or `continued`) with which it is trained further."""
    published: str | None = None
    """The row of the paper it stands for, e.g. `vicreg-1000`."""

    @property
    def registered(self) -> str | None:
        """The checkpoint's name in the registry; None for a path, which has a suffix, or none."""
        named = self.checkpoint is not None and not Path(self.checkpoint).suffix
        return self.checkpoint if named else None


def _short(weight: float) -> float:
    if not re.fullmatch(r"[0-9.]+", f"{weight:g}") or float(f"{weight:g}") != weight:
        raise ValueError(f"{weight} is part of a name: use 0, or up to six digits from 0.0001 on")
    return weight


GridWeight = Annotated[float, AfterValidator(_short)]


class Ablation(Strict):
    """Table D.2: the E2MC weights on a grid."""

    base: str
    """Base model."""
    criterion: str = "e2mc"
    """The criterion whose two weights are varied."""
    grid: Annotated[tuple[tuple[GridWeight, GridWeight], ...], Distinct] = (
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
    unit: tuple[Positive, Positive] = (1.0, 1.0)
    """What one unit of the grid means: the demo scales both weights."""
    trials: int = Field(1, ge=1, le=1000)
    """Trials per cell (the paper prints no standard error: one). Rows that Tables 1 and 3 show too,
    (0, 0) and the reported weights, are the means of all trials, as there."""


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
    two_columns: bool = False
    """Whether the LaTeX of a table spans both columns of a two-column document (`table*`)."""


class Trajectory(Strict):
    """Figure 4: accuracy by epoch of continued pre-training (paper, section 5.5)."""

    bases: Annotated[tuple[str, ...], Field(min_length=1)]
    """Base models (paper: SwAV, 800 epochs, and VICReg, 1000 epochs); of each, `continued` and
    `e2mc` as far as it is trained with them."""
    epochs: int = Field(30, ge=1)
    """Epochs of continued pre-training (paper: 30). The tables' model is a snapshot on the way:
    the first epochs are trained once."""
    every: int = Field(1, ge=1)
    """Epochs between two snapshots; a divisor of `epochs`."""
    trials: int = Field(1, ge=1)
    """Trials, from 0."""

    @model_validator(mode="after")
    def _ends_with_a_snapshot(self) -> "Trajectory":
        if self.epochs % self.every:
            raise ValueError(
                f"every: {self.every} epochs do not divide {self.epochs}: the last epoch would "
                "have no snapshot"
            )
        return self

    @property
    def snapshots(self) -> tuple[int, ...]:
        """Epochs after which there is a snapshot."""
        return tuple(range(self.every, self.epochs + 1, self.every))


class Figures(Strict):
    """Figures that need models of their own."""

    figure4: Trajectory | None = None
    """Figure 4; null: none. Best set before the first run: the bases it names are trained with
    snapshots, those that were trained without are trained again."""


class Experiment(Strict):
    """A complete experiment."""

    name: BaseName
    """Results are written to `results/<name>`."""
    description: str = ""
    """What it should reach and how long it takes, in a sentence or two."""
    seed: int = Field(0, ge=0)
    """Everything random is derived from it, the trial and the stage."""
    trials: int = Field(3, ge=1, le=1000)
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
    bases: dict[BaseName, Base] = Field(min_length=1)
    """Base models by name; the name appears in paths and must be a plain word."""
    criteria: dict[CriterionName, dict[Method, Criterion]]
    """Criterion name -> base method -> kind and weights."""
    evaluation: Evaluation = Evaluation()
    """Protocols."""
    tables: Tables = Tables()
    """Single-base tables."""
    figures: Figures = Figures()
    """Figures that need models of their own."""
    deterministic: bool = False
    """Trainings, fine-tunings and features repeat to the bit on GPUs too, on the same machine with
    the same versions: the fastest algorithms, whose sums come in any order, are given up. On CPUs
    they always repeat."""
    tf32: bool = True
    """On GPUs that have it (Ampere and later; the paper's had not), convolutions of float32 stages
    round their inputs to ten bits, as is PyTorch's default; matrix products never do."""
    tensorboard: bool = False
    """Pre-training also writes TensorBoard events: `tensorboard --logdir results/<name>/.runs`."""

    @model_validator(mode="after")
    def _names_exist(self) -> "Experiment":
        for name, base in self.bases.items():
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
    def _criteria_have_names_of_their_own(self) -> "Experiment":
        for name in self.criteria:
            if name in UNTRAINED or name.startswith("grid-"):
                raise ValueError(f"criteria.{name}: the name is taken, choose another")
        return self

    @model_validator(mode="after")
    def _grid_varies_weights_of_e2mc(self) -> "Experiment":
        ablation = self.tables.table_d2
        if ablation is not None and ablation.base in self.bases:
            method = self.bases[ablation.base].method
            found = self.criteria.get(ablation.criterion, {}).get(method)
            if found is None or found.kind != "e2mc":
                raise ValueError(
                    f"tables.table_d2.criterion: '{ablation.criterion}' is not of kind e2mc for "
                    f"{method}: add criteria.{ablation.criterion}.{method}"
                )
        return self

    @model_validator(mode="after")
    def _trees_have_names_of_their_own(self) -> "Experiment":
        for name in self.data.transfer:
            if name in (*Data.model_fields, *Evaluation.model_fields, "embeddings"):
                raise ValueError(f"data.transfer.{name}: the name is taken, choose another")
        return self

    @model_validator(mode="after")
    def _a_trajectory_passes_the_tables_models(self) -> "Experiment":
        figure = self.figures.figure4
        if figure is None:
            return self
        for name in figure.bases:
            if name not in self.bases:
                raise ValueError(
                    f"figures.figure4.bases: no base '{name}'; bases: {', '.join(self.bases)}"
                )
            training = self.training(name, scratch=False)
            if training.schedule != "constant" and figure.epochs > training.epochs:
                raise ValueError(
                    f"figures.figure4.epochs: {figure.epochs} epochs of {name} begin with the "
                    f"{training.epochs} of methods.{self.bases[name].method}.continued only at a "
                    f"constant rate, and its schedule is {training.schedule}: set schedule: "
                    f"constant, or at most {training.epochs} epochs here"
                )
        if figure.trials > self.trials:
            raise ValueError(
                f"figures.figure4.trials: {figure.trials}, but the experiment has {self.trials}"
            )
        return self

    def _criteria_of(self, method: Method) -> list[str]:
        return [name for name, methods in self.criteria.items() if method in methods]

    def recipe(self, base: str) -> AnyRecipe:
        """Recipe of a base model's method.

        Raises:
            E2MCError: there is no such base.
        """
        if base not in self.bases:
            raise E2MCError(f"no base '{base}'; bases: {', '.join(self.bases)}")
        recipe: AnyRecipe = getattr(self.methods, self.bases[base].method)
        return recipe

    def training(self, base: str, *, scratch: bool) -> Training:
        """Schedule of a base model's own training or of its continuation."""
        recipe = self.recipe(base)
        schedule = recipe.scratch if scratch else recipe.continued
        assert isinstance(schedule, Training)
        return schedule


def parse_experiment(
    content: Mapping[str, Any], source: str, files: Sequence[Path | str] = ()
) -> Experiment:
    """Validate a mapping; ``source`` names it in the error.

    Args:
        content: keys and values.
        source: what it is called in errors.
        files: the YAML files that it was read from, each laid over those before it.

    Raises:
        E2MCError: a file that is not what it should be, or one line per mistake, each with its
            dotted key, and its file and line.
    """
    for file in files:
        read_mapping(file)  # a reader that is less strict merged them
    return validated(Experiment, content, source, "config/README.md", files)


def load_experiment(path: Path | str) -> Experiment:
    """Read and validate one YAML file.

    Raises:
        E2MCError: no such file, not YAML, or not a valid experiment.
    """
    return parse_experiment(read_mapping(path), str(path), [path])
