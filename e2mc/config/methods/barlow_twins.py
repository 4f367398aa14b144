"""The recipe of Barlow Twins, from its official code; the E2MC paper has no such model."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from e2mc.config.criteria import Criterion
from e2mc.config.fits import FewPercent, FineTune, LinearFit, Percent
from e2mc.config.methods.recipe import Optimizer, Recipe, Training, Views
from e2mc.config.ranges import Width


class BarlowTwins(Recipe):
    """Barlow Twins (Zbontar et al., 2021); no published number stands behind its continuation."""

    title: ClassVar[str] = "Barlow Twins"
    implementation: ClassVar[str] = "e2mc.methods.barlow_twins:BarlowTwins"
    drops_last: ClassVar[bool] = False
    shape: ClassVar[dict[str, Any]] = {"projector": True, "restore_momentum": True}
    fits_of: ClassVar[str] = "barlow_twins"
    linear: ClassVar[dict[Percent, LinearFit]] = {
        1: LinearFit(learning_rate=0.3, weight_decay=1e-6),
        10: LinearFit(learning_rate=0.3, weight_decay=1e-6),
        100: LinearFit(learning_rate=0.3, weight_decay=1e-6),
    }
    semisup: ClassVar[dict[FewPercent, FineTune]] = {
        1: FineTune(backbone_learning_rate=0.005, head_learning_rate=0.5),
        10: FineTune(backbone_learning_rate=0.005, head_learning_rate=0.5),
    }
    paper_criteria: ClassVar[tuple[Criterion, ...]] = ()
    hours: ClassVar[float] = 10.0  # as VICReg, whose network and views it shares
    weight_bytes: ClassVar[int] = 698_552_512

    method: Literal["barlow_twins"] = "barlow_twins"
    """Its name."""
    projector: tuple[Width, Width, Width] = (8192, 8192, 8192)
    """Widths of the three projector layers (official `--projector 8192-8192-8192`)."""
    redundancy: float = Field(0.0051, ge=0)
    """Weight of the redundancy reduction term, lambda (official default)."""
    bias_rate: float = Field(0.024, gt=0)
    """Learning rate of biases and BatchNorm as a multiple of the weights' (official: 0.0048 to
    0.2)."""
    views: Views = Views(
        interpolation="bicubic",
        jitter=(0.4, 0.4, 0.2, 0.1),
        blur_probability=(1.0, 0.1),
        solarize_probability=(0.0, 0.2),
    )
    """Asymmetric pair of views (official `Transform`)."""
    optimizer: Optimizer = Optimizer(rule="lars", weight_decay=1e-6)
    """LARS with weight decay 1e-6 (official)."""
    restore_momentum: bool = True
    """Start from the LARS momentum inside the official checkpoint."""
    continued: Training = Training(learning_rate=0.004, precision="float16")
    """Not published: a hundredth of the base rate 0.2 x 512 / 256, as the paper does for VICReg."""

    @property
    def restores_momentum(self) -> bool:
        """As configured by `restore_momentum`."""
        return self.restore_momentum
