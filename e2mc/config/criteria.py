"""What is added to a base loss, by name, with its weights per base method."""

from typing import Annotated, Literal

from pydantic import Field

from e2mc.config.strict import Strict

Space = Literal["hypercube", "hypersphere"]


class E2MC(Strict):
    """Marginal entropy and covariance on a compact space (the paper's criterion)."""

    kind: Literal["e2mc"] = "e2mc"
    space: Space
    """`hypercube`: sigmoid (VICReg); `hypersphere`: Gaussian CDF (SwAV, SimSiam)."""
    entropy_weight: float = Field(ge=0)
    """Beta."""
    covariance_weight: Annotated[float, Field(ge=0)] | Literal["auto"]
    """Gamma; `auto`: the published ratio to beta, scaled to the embeddings' width."""
    entropy_over_views: Literal["mean", "sum"] = "mean"
    """`mean`: official code; `sum`: the paper's Algorithm 1 (twice the entropy for two views)."""
    spacing: int | None = Field(None, ge=1)
    """m of the entropy estimate; null: round(sqrt(n)) (Algorithm 1)."""
    epsilon: float = Field(1e-7, gt=0)
    """Inside the logarithm (Algorithm 1; the official SwAV and SimSiam scripts use 1.19e-7)."""


class VCReg(Strict):
    """Variance and covariance regularisation (paper B.1)."""

    kind: Literal["vcreg"] = "vcreg"
    space: Literal["hypersphere", "projector"] = "hypersphere"
    """L2-normalised embeddings with target 1/sqrt(d) (the script's default), or raw, target 1."""
    variance_weight: float = Field(0.1, ge=0)
    """Mu."""
    covariance_weight: float = Field(0.001, ge=0)
    """Nu."""


class Uniformity(Strict):
    """Uniformity on the hypersphere (AUH; paper B.1)."""

    kind: Literal["auh"] = "auh"
    weight: float = Field(0.5, ge=0)
    """Lambda."""
    kernel_width: float = Field(2.0, gt=0)
    """t of the Gaussian potential."""
    over_views: Literal["mean", "sum"] = "mean"
    """`mean`: code; `sum`: the paper's Eq. B.3."""


class MMCR(Strict):
    """Maximum manifold capacity (paper B.1): nuclear norm of the centroids."""

    kind: Literal["mmcr"] = "mmcr"
    weight: float = Field(0.005, ge=0)
    """Weight of the nuclear norm."""
    local_weight: float = Field(0.0, ge=0)
    """Weight of each image's own nuclear norm, relative to it (reference code and paper: 0)."""


class MEC(Strict):
    """Maximum entropy coding (Liu et al., 2022)."""

    kind: Literal["mec"] = "mec"
    weight: float = Field(1.0, ge=0)
    """Weight of the coding length."""
    order: int = Field(4, ge=1)
    """Terms of the Taylor series (official code: 4)."""
    distortion: float = Field(64.0, gt=0)
    """d times the squared decoding error (official code: 64)."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the distortion shrinks to its value, for embeddings that start collapsed."""


class CorInfoMax(Strict):
    """Log-determinant of the embedding covariance (Ozsoy et al., 2022)."""

    kind: Literal["corinfomax"] = "corinfomax"
    weight: float = Field(1.0, ge=0)
    """Weight of the log-determinants."""
    forgetting: float = Field(0.1, ge=0, lt=1)
    """Weight of the past in the moving averages (official ImageNet runs: 0.1)."""
    invariance_weight: float = Field(0.0, ge=0)
    """Weight of the squared distance between views; 0: the base loss aligns them already."""
    epsilon: float = Field(1e-8, gt=0)
    """Ridge on the covariance's diagonal (official command line: 1e-8)."""
    normalize: bool = True
    """L2-normalise the rows first (official code)."""


class EntropyReconstruction(Strict):
    """Entropy and reconstruction bound (arXiv 2307.10907)."""

    kind: Literal["er"] = "er"
    weight: float = Field(1.0, ge=0)
    """Weight of the bound."""
    concentration: float = Field(10.0, gt=0)
    """Kappa of the von Mises-Fisher kernel."""
    estimator: Literal["joe", "plug-in"] = "joe"
    """Entropy estimator."""
    reconstruction_weight: float = Field(1.0, ge=0)
    """Weight of the reconstruction inside the bound; 0: entropy alone."""


class MutualInformation(Strict):
    """Mutual information from second-order statistics (arXiv 2409.04747)."""

    kind: Literal["mi"] = "mi"
    weight: float = Field(1.0, ge=0)
    """Weight of the mutual information."""
    form: Literal["exact", "series"] = "exact"
    """Log-determinants with a ridge, or a truncated series."""
    order: int = Field(4, ge=2)
    """Terms of the series (its first term is zero)."""
    ridge: float = Field(1e-3, gt=0)
    """Added to every covariance's diagonal."""
    forgetting: float = Field(0.9, ge=0, lt=1)
    """Weight of the past in the series' moving average of the largest eigenvalue."""


class KoLeo(Strict):
    """Nearest-neighbour entropy on the sphere (Sablayrolles et al., 2019; DINOv2)."""

    kind: Literal["koleo"] = "koleo"
    weight: float = Field(0.1, ge=0)
    """Weight of the mean log-distance (DINOv2: 0.1)."""
    neighbours: int = Field(1, ge=1)
    """How many nearest neighbours each embedding is pushed away from."""
    epsilon: float = Field(1e-8, gt=0)
    """Added to distances, so that repeated rows stay finite."""


class SIGReg(Strict):
    """Sliced Epps-Pulley test of normality (LeJEPA, arXiv 2511.08544)."""

    kind: Literal["sigreg"] = "sigreg"
    weight: float = Field(0.05, ge=0)
    """Weight of the statistic."""
    slices: int = Field(1024, ge=1)
    """Random directions, new in each step."""
    t_max: float = Field(3.0, gt=0)
    """End of the integration (official code: 3)."""
    points: int = Field(17, ge=2)
    """Of the trapezoidal rule on [0, t_max]."""
    seed: int = Field(0, ge=0)
    """Of the directions."""


class VISReg(Strict):
    """Centre, scale and sliced Gaussian shape (arXiv 2606.02572)."""

    kind: Literal["visreg"] = "visreg"
    centre_weight: float = Field(1.0, ge=0)
    """Weight of the squared column means."""
    scale_weight: float = Field(1.0, ge=0)
    """Weight of the standard deviations' distance from 1."""
    shape_weight: float = Field(1.0, ge=0)
    """Weight of the sliced Wasserstein distance to a Gaussian."""
    slices: int = Field(4096, ge=1)
    """Random directions, new in each step."""
    epsilon: float = Field(1e-4, gt=0)
    """Added to the standard deviations that the shape divides by."""
    seed: int = Field(0, ge=0)
    """Of the directions."""


class RadialVCReg(Strict):
    """VCReg with norms drawn towards a chi distribution (arXiv 2602.14272)."""

    kind: Literal["radial"] = "radial"
    variance_weight: float = Field(1.0, ge=0)
    """Weight of the variance hinge."""
    covariance_weight: float = Field(1.0, ge=0)
    """Weight of the covariance penalty."""
    cross_entropy_weight: float = Field(100.0, ge=0)
    """Weight of the radius's cross-entropy (the paper's "X" experiment: 100)."""
    entropy_weight: float = Field(100.0, ge=0)
    """Weight of the radius's entropy (the paper's "X" experiment: 100)."""
    spacing: int | None = Field(None, ge=1)
    """m of the entropy estimate; null: round(sqrt(n))."""
    epsilon: float = Field(1e-6, gt=0)
    """Inside logarithms and square roots."""


Criterion = Annotated[
    E2MC
    | VCReg
    | Uniformity
    | MMCR
    | MEC
    | CorInfoMax
    | EntropyReconstruction
    | MutualInformation
    | KoLeo
    | SIGReg
    | VISReg
    | RadialVCReg,
    Field(discriminator="kind"),
]
