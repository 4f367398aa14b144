"""SimSiam's recipe, and what the paper did with it."""

from typing import Any, ClassVar, Literal

from e2mc.config.criteria import E2MC, Criterion
from e2mc.config.fits import FewPercent, FineTune, LinearFit, Percent
from e2mc.config.methods.recipe import Optimizer, Recipe, Training, Views
from e2mc.config.ranges import Width


class SimSiam(Recipe):
    """SimSiam (Chen and He, 2021), continued as in e2mc `main_simsiam_ent_ft.py`."""

    title: ClassVar[str] = "SimSiam"
    implementation: ClassVar[str] = "e2mc.methods.simsiam:SimSiam"
    drops_last: ClassVar[bool] = True
    shape: ClassVar[dict[str, Any]] = {"projector": True, "predictor": True}
    fits_of: ClassVar[str] = "simsiam"
    linear: ClassVar[dict[Percent, LinearFit]] = {
        1: LinearFit(learning_rate=2.0, rule="larc"),
        10: LinearFit(learning_rate=1.6, rule="larc", batch_size=2048),
        100: LinearFit(learning_rate=0.8, rule="larc", batch_size=2048),
    }
    semisup: ClassVar[dict[FewPercent, FineTune]] = {}
    paper_criteria: ClassVar[tuple[Criterion, ...]] = (
        E2MC(space="hypersphere", entropy_weight=0.001, covariance_weight=0.01),  # section B.1
    )
    hours: ClassVar[float] = 14.0
    weight_bytes: ClassVar[int] = 153_071_816

    method: Literal["simsiam"] = "simsiam"
    """Its name."""

    projector: Width = 2048
    """Width of the three projector layers."""
    predictor: Width = 512
    """Hidden width of the predictor."""
    views: Views = Views(scale=(0.2, 1.0), flip="last")
    """Two views of one pipeline (official `main_simsiam.py`)."""
    optimizer: Optimizer = Optimizer(rule="sgd", weight_decay=1e-4)
    """Plain SGD, everything trainable is decayed (official)."""
    continued: Training = Training(learning_rate=0.001, predictor_learning_rate=0.1)
    """Paper B.1.3: 0.001 for the encoder; e2mc leaves the predictor's rate at 0.05 x 512 / 256."""
