"""VICReg (Bardes, Ponce and LeCun, ICLR 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone
from e2mc.criteria import covariance_penalty, variance_hinge
from e2mc.criteria.gather import gather_rows, rows_per_rank
from e2mc.criteria.rows import at_least_float32
from e2mc.errors import E2MCError
from e2mc.methods.layout import LARS_FILTERS, Layout
from e2mc.methods.method import Method, Step, pair


def vicreg_terms(z_a: Tensor, z_b: Tensor) -> dict[str, Tensor]:
    """The three unweighted terms of `vicreg_loss`, by name.

    Raises:
        E2MCError: the views differ in shape, or have fewer than 2 rows over all ranks.
    """
    if z_a.ndim != 2 or z_a.shape != z_b.shape:
        raise E2MCError(
            f"VICReg needs two views (n, d) of one shape, got {tuple(z_a.shape)} and "
            f"{tuple(z_b.shape)}"
        )
    with torch.autocast(z_a.device.type, enabled=False):
        sizes = rows_per_rank(z_a)
        views = [gather_rows(at_least_float32(z), sizes) for z in (z_a, z_b)]
        if len(views[0]) < 2:
            raise E2MCError("VICReg needs at least 2 images in a batch for its variances")
        return {
            "invariance": F.mse_loss(views[0], views[1]),
            "variance": torch.stack([variance_hinge(z) for z in views]).mean(),
            "covariance": torch.stack([covariance_penalty(z) for z in views]).sum(),
        }


def vicreg_loss(
    z_a: Tensor,
    z_b: Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Tensor:
    """Variance-invariance-covariance loss (VICReg Eqs. 1-6; official `main_vicreg.py`).

        loss = invariance  mean (z_a - z_b)^2                                 over all n d entries
             + variance    mean_j max(0, 1 - sqrt(var_j + 1e-4))              averaged over views
             + covariance  1/d sum_{j != k} Cov_jk^2                          summed over views

    The last term is `e2mc.criteria.covariance_penalty`, on the embeddings as they are.

    Args:
        z_a: (n, d) projector outputs of the first view.
        z_b: (n, d) of the second view, row i from the same image.
        invariance: weight, 25 in the official script.
        variance: weight, 25.
        covariance: weight, 1.

    Returns:
        A scalar, in float32 at least; under torch.distributed that of all ranks' rows.

    Raises:
        E2MCError: shapes that differ, or fewer than 2 rows over all ranks.

    Deviations from the official code: it divides covariances by the configured batch size less
    one, this by the actual n - 1 (they differ in an incomplete last batch); it takes the
    invariance per rank and lets DDP average it, which is the same gradient for equal shares, and
    here exact for unequal ones; it runs under autocast. The papers' texts differ from all code:
    E2MC's Eq. 1 has no 1/d in the invariance, and calls the covariance averaged over views.
    """
    return _weigh(vicreg_terms(z_a, z_b), invariance, variance, covariance)


def _weigh(
    terms: dict[str, Tensor], invariance: float, variance: float, covariance: float
) -> Tensor:
    return (
        invariance * terms["invariance"]
        + variance * terms["variance"]
        + covariance * terms["covariance"]
    )


def vicreg_projector(inputs: int, widths: tuple[int, int, int]) -> nn.Sequential:
    """Three linear layers, BatchNorm and ReLU between them; the last without bias (official)."""
    first, second, third = widths
    return nn.Sequential(
        nn.Linear(inputs, first),
        nn.BatchNorm1d(first),
        nn.ReLU(inplace=True),
        nn.Linear(first, second),
        nn.BatchNorm1d(second),
        nn.ReLU(inplace=True),
        nn.Linear(second, third, bias=False),
    )


class VICReg(Method):
    """A trunk and a wide projector; each view has its own forward pass and BN statistics."""

    layout = Layout(
        {"backbone.": "module.backbone.", "projector.": "module.projector."},
        entry="model",
        momentum="mu",
        group=LARS_FILTERS,
    )

    def __init__(self, recipe: recipes.VICReg, backbone: Backbone) -> None:
        super().__init__(recipe, backbone)
        self.projector = vicreg_projector(backbone.feature_dimension, recipe.projector)
        self.weights = (recipe.invariance, recipe.variance, recipe.covariance)

    def uninformed_loss(self, images: int) -> float:
        """Of equal embeddings, where the hinge alone is not zero: 24.75 with official weights."""
        return self.weights[1] * variance_hinge(torch.zeros(2, 1)).item()

    def forward(self, views: list[Tensor]) -> Step:
        """The loss; criteria see the projector's output."""
        embeddings = [self.embed(view) for view in pair(views, self.name)]
        terms = vicreg_terms(*embeddings)
        loss = _weigh(terms, *self.weights)
        logged = {f"vicreg_{name}": term.detach() for name, term in terms.items()}
        return Step(loss, embeddings, logged)
