"""VICReg's recipe, and what the paper did with it."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from e2mc.config.criteria import E2MC, Criterion
from e2mc.config.fits import FewPercent, FineTune, LinearFit, Percent
from e2mc.config.methods.recipe import Optimizer, Recipe, Training, Views
from e2mc.config.ranges import Width


class VICReg(Recipe):
    """VICReg (Bardes et al., 2022), continued as in e2mc `main_vicreg_ent_ft.py`."""

    title: ClassVar[str] = "VICReg"
    implementation: ClassVar[str] = "e2mc.methods.vicreg:VICReg"
    drops_last: ClassVar[bool] = False
    shape: ClassVar[dict[str, Any]] = {"projector": True, "restore_momentum": True}
    fits_of: ClassVar[str] = "vicreg"
    linear: ClassVar[dict[Percent, LinearFit]] = {
        1: LinearFit(learning_rate=0.02, weight_decay=1e-4),
        10: LinearFit(learning_rate=0.02, weight_decay=1e-4),
        100: LinearFit(learning_rate=0.02, weight_decay=1e-6),
    }
    semisup: ClassVar[dict[FewPercent, FineTune]] = {
        1: FineTune(backbone_learning_rate=0.03, head_learning_rate=0.08),
        10: FineTune(backbone_learning_rate=0.01, head_learning_rate=0.1),
    }
    paper_criteria: ClassVar[tuple[Criterion, ...]] = (
        E2MC(space="hypercube", entropy_weight=1000, covariance_weight=100),  # section B.1
    )
    hours: ClassVar[float] = 10.0
    weight_bytes: ClassVar[int] = 698_552_504

    method: Literal["vicreg"] = "vicreg"
    """Its name."""

    projector: tuple[Width, Width, Width] = (8192, 8192, 8192)
    """Widths of the three projector layers (official `--mlp 8192-8192-8192`)."""
    invariance: float = Field(25.0, ge=0)
    """Weight of the invariance term (official default)."""
    variance: float = Field(25.0, ge=0)
    """Weight of the variance hinge (official default)."""
    covariance: float = Field(1.0, ge=0)
    """Weight of the covariance term (official default)."""
    views: Views = Views(
        interpolation="bicubic",
        jitter=(0.4, 0.4, 0.2, 0.1),
        blur_probability=(1.0, 0.1),
        solarize_probability=(0.0, 0.2),
    )
    """Asymmetric pair of views (official `augmentations.py`)."""
    optimizer: Optimizer = Optimizer(rule="lars", weight_decay=1e-6)
    """LARS with weight decay 1e-6 (official)."""
    restore_momentum: bool = True
    """Start from the LARS momentum inside the official checkpoint, as e2mc does."""
    continued: Training = Training(learning_rate=0.006, precision="float16")
    """Paper B.1.3: 0.003 = 0.01 x the base rate 0.3; the script scales its argument by
    512 / 256, so 0.003 most likely became 0.006. Undecidable from the release."""

    @property
    def restores_momentum(self) -> bool:
        """As configured by `restore_momentum`."""
        return self.restore_momentum
