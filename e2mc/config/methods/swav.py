"""SwAV's recipe, and what the paper did with it."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from e2mc.config.criteria import E2MC, MMCR, Criterion, Uniformity, VCReg
from e2mc.config.fits import FewPercent, FineTune, LinearFit, Percent
from e2mc.config.methods.recipe import Optimizer, Recipe, Training, Views
from e2mc.config.ranges import Width


class SwAV(Recipe):
    """SwAV (Caron et al., 2020), continued as in e2mc `main_swav_ent_ft.py`."""

    title: ClassVar[str] = "SwAV"
    implementation: ClassVar[str] = "e2mc.methods.swav:SwAV"
    drops_last: ClassVar[bool] = True
    shape: ClassVar[dict[str, Any]] = {
        "projector": True,
        "prototypes": True,
        "queue_length": True,
        "views": {"full_views"},
    }
    fits_of: ClassVar[str] = "swav"
    linear: ClassVar[dict[Percent, LinearFit]] = {
        1: LinearFit(learning_rate=0.3, weight_decay=1e-6),
        10: LinearFit(learning_rate=0.3, weight_decay=1e-6),
        100: LinearFit(learning_rate=0.3, weight_decay=1e-6),
    }
    semisup: ClassVar[dict[FewPercent, FineTune]] = {
        1: FineTune(backbone_learning_rate=0.02, head_learning_rate=5.0, milestones=(12, 16)),
        10: FineTune(backbone_learning_rate=0.01, head_learning_rate=0.2, milestones=(12, 16)),
    }
    paper_criteria: ClassVar[tuple[Criterion, ...]] = (
        E2MC(space="hypersphere", entropy_weight=1, covariance_weight=25),
        VCReg(),
        Uniformity(),
        MMCR(),
    )  # section B.1
    hours: ClassVar[float] = 13.0
    weight_bytes: ClassVar[int] = 113_648_304

    method: Literal["swav"] = "swav"
    """Its name."""

    projector: tuple[Width, Width] = (2048, 128)
    """Hidden and output width of the projection head."""
    prototypes: int = Field(3000, ge=2, le=1_000_000)
    """Number of prototypes."""
    temperature: float = Field(0.1, gt=0)
    """Temperature of the softmax over prototypes."""
    epsilon: float = Field(0.05, gt=0)
    """Entropic regularisation of the Sinkhorn assignment."""
    sinkhorn_iterations: int = Field(3, ge=1)
    """Sinkhorn iterations."""
    queue_length: int = Field(3584, ge=0)
    """Rows per view kept for Sinkhorn (e2mc: 7 x 512, from the first step, though the 800-epoch
    model was trained without a queue); 0: none."""
    views: Views = Views(
        scale=(0.14, 1.0),
        small_views=6,
        jitter=(0.8, 0.8, 0.8, 0.2),
        normalization_std=(0.228, 0.224, 0.225),
    )
    """Multi-crop 2x224 + 6x96 (official `multicropdataset.py`)."""
    optimizer: Optimizer = Optimizer(rule="larc", weight_decay=1e-6)
    """LARC(0.001, clip=False) over SGD, all parameters adapted and decayed (official)."""
    continued: Training = Training(learning_rate=0.001, precision="float16")
    """Paper B.1.3: 0.001; e2mc feeds it unscaled."""
