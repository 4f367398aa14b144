"""Evaluation protocols with the paper's constants (Appendix B.2)."""

from typing import Literal

from pydantic import Field

from e2mc.config.methods import Optimizer
from e2mc.config.strict import Strict

Percent = Literal[1, 10, 100]
Protocol = Literal[
    "linear-1", "linear-10", "linear-100", "semisup-1", "semisup-10", "inat18", "voc07", "knn"
]


class LinearFit(Strict):
    """One linear classifier on frozen features."""

    learning_rate: float = Field(gt=0)
    """The effective learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 penalty, on weights and biases alike."""
    batch_size: int = Field(256, ge=1)
    """Images per step; the last, partial batch is kept."""
    epochs: int = Field(100, ge=1)
    """Passes over the labelled images (paper: 100)."""
    rule: Literal["sgd", "larc"] = "sgd"
    """SGD with momentum 0.9, or the same inside LARC (SimSiam)."""
    milestones: tuple[int, ...] = ()
    """Epochs at which the rate is divided by ten; none: cosine to zero, stepped per epoch."""


class Linear(Strict):
    """Linear evaluation at 1, 10 and 100 % of the labels (paper 5.1, B.2.1)."""

    views: int = Field(10, ge=1)
    """Cached augmented views per training image. As many as epochs is the paper's online
    protocol exactly; with fewer, epoch e uses view e modulo their number."""
    percents: tuple[Percent, ...] = (1, 10, 100)
    """Shares of the labels."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Matrix products of the probe; `bfloat16` keeps float32 weights, momentum and softmax, and is
    faster on processors with such instructions (benchmarks/linear.py)."""
    vicreg: dict[Percent, LinearFit] = {
        1: LinearFit(learning_rate=0.02, weight_decay=1e-4),
        10: LinearFit(learning_rate=0.02, weight_decay=1e-4),
        100: LinearFit(learning_rate=0.02, weight_decay=1e-6),
    }
    """VICReg (also used for `er` and `mi`)."""
    swav: dict[Percent, LinearFit] = {
        1: LinearFit(learning_rate=0.3, weight_decay=1e-6),
        10: LinearFit(learning_rate=0.3, weight_decay=1e-6),
        100: LinearFit(learning_rate=0.3, weight_decay=1e-6),
    }
    """SwAV."""
    simsiam: dict[Percent, LinearFit] = {
        1: LinearFit(learning_rate=2.0, rule="larc"),
        10: LinearFit(learning_rate=1.6, rule="larc", batch_size=2048),
        100: LinearFit(learning_rate=0.8, rule="larc", batch_size=2048),
    }
    """SimSiam; the paper's 0.2 and 0.1 at batch 2048 are read as base rates per 256 images."""


class FineTune(Strict):
    """Fine-tuning of the whole network on few labels."""

    backbone_learning_rate: float = Field(gt=0)
    """Effective rate of the backbone."""
    head_learning_rate: float = Field(gt=0)
    """Effective rate of the new linear head."""
    epochs: int = Field(20, ge=1)
    """Passes over the labelled images."""
    batch_size: int = Field(256, ge=2)
    """Images per step over all processes."""
    milestones: tuple[int, ...] = ()
    """Epochs at which both rates are multiplied by 0.2; none: cosine to zero per epoch."""


class SemiSupervised(Strict):
    """Semi-supervised evaluation at 1 and 10 % (paper 5.2, B.2.2); none for SimSiam."""

    percents: tuple[Literal[1, 10], ...] = (1, 10)
    """Shares of the labels."""
    vicreg: dict[Literal[1, 10], FineTune] = {
        1: FineTune(backbone_learning_rate=0.03, head_learning_rate=0.08),
        10: FineTune(backbone_learning_rate=0.01, head_learning_rate=0.1),
    }
    """VICReg: cosine."""
    swav: dict[Literal[1, 10], FineTune] = {
        1: FineTune(backbone_learning_rate=0.02, head_learning_rate=5.0, milestones=(12, 16)),
        10: FineTune(backbone_learning_rate=0.01, head_learning_rate=0.2, milestones=(12, 16)),
    }
    """SwAV: steps."""
    batch_norm: Literal["train", "synchronised"] = "synchronised"
    """`synchronised` over processes (e2mc) or per process (official VICReg)."""
    optimizer: Optimizer = Optimizer(rule="sgd", weight_decay=0.0)
    """SGD, no weight decay."""


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

    costs: tuple[float, ...] = (
        *(1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3),
        *(1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0),
    )
    """Costs tried by cross-validation, per class (paper B.2.4)."""
    folds: int = Field(3, ge=2)
    """Folds of the cross-validation."""
    resize: Literal["squash", "center-crop"] = "squash"
    """`squash`: VISSL's yaml; `center-crop`: what reproduces SwAV's published number."""


class Neighbours(Strict):
    """k-nearest neighbours, and the distances of Figure 3."""

    neighbours: tuple[int, ...] = (20, 200)
    """k."""
    temperature: float = Field(0.07, gt=0)
    """Temperature of the cosine-weighted vote (DINO, Wu et al. 2018)."""
    distance_ranks: tuple[int, ...] = (1, 100)
    """Ranks of the neighbours whose distances Figure 3 shows."""


class Evaluation(Strict):
    """Everything that is measured on a model."""

    linear: Linear = Linear()
    """Linear evaluation."""
    semisup: SemiSupervised = SemiSupervised()
    """Semi-supervised evaluation."""
    inat18: INat18 = INat18()
    """Transfer to iNaturalist 2018."""
    voc07: VOC07 = VOC07()
    """Transfer to VOC 2007."""
    knn: Neighbours = Neighbours()
    """Nearest neighbours."""
    normalization_std: tuple[float, float, float] = (0.228, 0.224, 0.225)
    """Input normalisation of every evaluation (e2mc `eval_linear.py`: SwAV's 0.228)."""
    pipeline: Literal["pillow", "fast"] = "pillow"
    """Who resizes the images that features are taken from: `pillow`, as in all official code, or
    `fast`: torch, by the same filter and to within one grey level per resize. Where training views
    are `tensor`, these are too. Measured in docs/views.md."""
    batch_size: int = Field(256, ge=1)
    """Images per forward pass of the extraction."""
    embedding_samples: int = Field(50_000, ge=2)
    """Test images whose embeddings are kept for Figures 2, 3 and D.1: all of ImageNet's."""
