"""Evaluation protocols with the paper's constants (Appendix B.2)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from e2mc.config.fits import FewPercent, LinearFit, Percent
from e2mc.config.methods import FineTunings, LinearFits, Optimizer
from e2mc.config.ranges import Count, Deviations, Distinct, Positive, Some
from e2mc.config.strict import Strict

Protocol = Literal[
    "linear-1", "linear-10", "linear-100", "semisup-1", "semisup-10", "inat18", "voc07", "knn"
]


def _of_every_share(views: Any) -> Any:
    """One number is that of all shares."""
    return views if isinstance(views, Mapping) else dict.fromkeys(get_args(Percent), views)


class Linear(LinearFits):
    """Linear evaluation at 1, 10 and 100 % of the labels (paper 5.1, B.2.1)."""

    views: Annotated[
        dict[Percent, Count],
        BeforeValidator(_of_every_share, json_schema_input_type=Count | dict[Percent, Count]),
    ] = {1: 100, 10: 100, 100: 10}
    """Augmented views per training image, by share of the labels; one number is that of all, and a
    share that is not named keeps its default. As many as epochs is the paper's protocol: a fresh
    view in every epoch, made when it is needed and never stored. Fewer are cached on disk, and
    epoch e uses view e modulo their number."""
    percents: Annotated[tuple[Percent, ...], Some, Distinct] = (1, 10, 100)
    """Shares of the labels."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Matrix products of the probe; `bfloat16` keeps float32 weights, momentum and softmax, and is
    faster on processors with such instructions (benchmarks/linear.py)."""

    @model_validator(mode="after")
    def _no_view_is_made_in_vain(self) -> "Linear":
        for method in LinearFits.model_fields:
            for percent, fit in getattr(self, method).items():
                if self.views[percent] > fit.epochs:
                    raise ValueError(
                        f"views.{percent}: {self.views[percent]} views, but {method}.{percent} has "
                        f"{fit.epochs} epochs and uses one view in each; set views.{percent} to "
                        f"{fit.epochs} or less"
                    )
        return self


class SemiSupervised(FineTunings):
    """Semi-supervised evaluation at 1 and 10 % (paper 5.2, B.2.2); none for SimSiam."""

    percents: Annotated[tuple[FewPercent, ...], Some, Distinct] = (1, 10)
    """Shares of the labels."""
    batch_norm: Literal["train", "synchronised"] = "synchronised"
    """`synchronised` over processes (e2mc) or per process (official VICReg)."""
    optimizer: Optimizer = Optimizer(rule="sgd", weight_decay=0.0)
    """SGD, no weight decay."""


class Snapshots(Strict):
    """The linear probe of Figure 4, on snapshots of continued pre-training."""

    percent: FewPercent = 1
    """Share of the labels (paper, section 5.5: 1 %). Every epoch of the probe sees a fresh view."""


class INat18(Strict):
    """Linear classification of iNaturalist 2018 on 2x2-pooled maps (paper 5.3, B.2.3)."""

    views: int = Field(4, ge=1)
    """Cached augmented views per training image."""
    fit: LinearFit = LinearFit(
        learning_rate=0.01, weight_decay=1e-4, epochs=84, milestones=(24, 48, 72)
    )
    """The linear head and the BatchNorm before it, both decayed (e2mc)."""
    pooled: bool = False
    """Also cache pooled features, from the same pass, for nearest neighbours and the like."""


class VOC07(Strict):
    """One-versus-rest linear SVMs (VISSL's protocol; paper 5.3, B.2.4)."""

    costs: Annotated[tuple[Positive, ...], Some, Distinct] = (
        *(1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3),
        *(1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0),
    )
    """Costs tried by cross-validation, per class (paper B.2.4)."""
    folds: int = Field(3, ge=2)
    """Folds of the cross-validation."""
    resize: Literal["squash", "center-crop"] = "squash"
    """`squash`: VISSL's yaml; `center-crop`: what reproduces SwAV's published number."""
    normalization_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Input normalisation (VISSL's yaml; e2mc ships no code for VOC07)."""


class Neighbours(Strict):
    """k-nearest neighbours, and the distances of Figure 3."""

    neighbours: Annotated[tuple[Count, ...], Some, Distinct] = (20, 200)
    """k."""
    temperature: float = Field(0.07, gt=0)
    """Temperature of the cosine-weighted vote (DINO, Wu et al. 2018)."""
    distance_ranks: Annotated[tuple[Count, ...], Some, Distinct] = (1, 100)
    """Ranks of the neighbours whose distances Figure 3 shows."""


Classifier = Literal["linear", "knn"]


class FewLabels(Strict):
    """Classifiers of frozen features from a number of labelled images of each class."""

    shots: Annotated[tuple[Count, ...], Some, Distinct] = (1, 5, 10)
    """Labelled images per class."""
    draws: int = Field(5, ge=1)
    """Random choices of the labelled images that an accuracy is averaged over."""
    cost: float = Field(1.0, gt=0)
    """Of the errors beside the L2 penalty, as scikit-learn's C (whose default, 1, the code of Tian
    et al. 2020 takes)."""
    temperature: float = Field(0.07, gt=0)
    """Temperature of the cosine-weighted vote, as in `knn`."""


class FewShot(FewLabels):
    """Few labelled images per class of a folder tree, for every tree of `data.transfer`."""

    classifiers: Annotated[tuple[Classifier, ...], Some, Distinct] = ("linear", "knn")
    """`linear`: logistic regression; `knn`: the vote of `knn`, of as many neighbours as shots."""


class Subsets(FewLabels):
    """Accuracy on some of ImageNet's classes from some of its labels: the points of the map."""

    classifier: Classifier = "linear"
    """As of `few_shot.classifiers`."""
    classes: Annotated[tuple[Count, ...], Distinct] = (10, 20, 50, 100)
    """Sizes of the random subsets of classes; all classes are always a point too."""
    shots: Annotated[tuple[Count, ...], Some, Distinct] = (1, 5, 10, 50, 500)
    """Labelled images per class."""
    groups: dict[str, Annotated[tuple[str, ...], Some]] = {}
    """Coarse class -> its classes. With groups there are also subsets of related classes (whole
    groups in random order, up to the size) and one with the coarse classes as labels of all
    images; a class of no group is in neither."""

    @model_validator(mode="after")
    def _groups_share_nothing_and_suffice(self) -> "Subsets":
        grouped = [name for group in self.groups.values() for name in group]
        for name in grouped:
            if grouped.count(name) > 1:
                raise ValueError(f"groups: {name} stands twice: each class belongs to one group")
        if grouped and max(self.classes, default=0) > len(grouped):
            raise ValueError(
                f"groups hold {len(grouped)} classes, too few for a subset of {max(self.classes)}: "
                "group all classes, or name smaller subsets"
            )
        return self


class Evaluation(Strict):
    """Everything that is measured on a model."""

    linear: Linear = Linear()
    """Linear evaluation."""
    semisup: SemiSupervised = SemiSupervised()
    """Semi-supervised evaluation."""
    snapshots: Snapshots = Snapshots()
    """Probes of Figure 4."""
    inat18: INat18 = INat18()
    """Transfer to iNaturalist 2018."""
    voc07: VOC07 = VOC07()
    """Transfer to VOC 2007."""
    knn: Neighbours = Neighbours()
    """Nearest neighbours."""
    few_shot: FewShot = FewShot()
    """Transfer to folders of class folders, with few labels."""
    subsets: Subsets | None = None
    """Subsets of ImageNet's classes and labels, for the map of where a criterion helps; null: no
    map."""
    normalization_std: Deviations = (0.228, 0.224, 0.225)
    """Input normalisation of every evaluation (e2mc `eval_linear.py`: SwAV's 0.228) but VOC07."""
    pipeline: Literal["pillow", "fast"] = "pillow"
    """Who resizes the images that features are taken from: `pillow`, as in all official code, or
    `fast`: torch, by the same filter and to within one grey level per resize. Where training views
    are `tensor`, these are too. Measured in docs/views.md."""
    batch_size: int = Field(256, ge=1)
    """Images per forward pass of the extraction."""
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    """Forward passes of frozen networks; half precision is autocast's. What it changes is measured
    in docs/protocols.md."""
    keep_features: bool = False
    """Keep cached features when all evaluations of a model are done, for protocols to come. Else
    they are deleted then, and extracted again if a changed key asks for them."""
    embedding_samples: int = Field(50_000, ge=2)
    """Test images whose embeddings are kept for Figures 2, 3 and D.1: all of ImageNet's."""
