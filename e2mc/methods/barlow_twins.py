"""Barlow Twins (Zbontar, Jing, Misra, LeCun and Deny, ICML 2021)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone, Training
from e2mc.criteria.gather import gather_rows, rows_per_rank
from e2mc.criteria.rows import at_least_float32
from e2mc.errors import E2MCError
from e2mc.methods.layout import LARS_FILTERS, Layout
from e2mc.methods.method import Method, Step, pair, trainable


def barlow_twins_terms(u_a: Tensor, u_b: Tensor) -> dict[str, Tensor]:
    """The two unweighted terms of `barlow_twins_loss`, by name.

    Args:
        u_a: (n, d) standardised projector outputs of the first view, of all ranks.
        u_b: (n, d) of the second view, row i from the same image.
    """
    correlation = u_a.t() @ u_b / len(u_a)
    return {
        "invariance": (correlation.diagonal() - 1).square().sum(),
        "redundancy": correlation.square().fill_diagonal_(0).sum(),
    }


def barlow_twins_loss(z_a: Tensor, z_b: Tensor, redundancy: float = 0.0051) -> Tensor:
    """Redundancy reduction (Barlow Twins Eqs. 1-2; official `main.py`).

        C_jk = 1/n sum_i u_a,ij u_b,ik      u: z with columns of mean 0 and variance 1
        loss = sum_j (1 - C_jj)^2 + redundancy sum_{j != k} C_jk^2

    Variances are biased, with 1e-5 added, as in the official BatchNorm without weights. The matrix
    costs d^2 numbers of memory.

    Args:
        z_a: (n, d) projector outputs of the first view.
        z_b: (n, d) of the second view, row i from the same image.
        redundancy: lambda, 0.0051 in the official script.

    Returns:
        A scalar, in float32 at least; under torch.distributed that of all ranks' rows.

    Raises:
        E2MCError: shapes that differ, or fewer than 2 rows over all ranks.

    Deviations from the official code: it divides by the configured batch size, this by the actual n
    (they differ in an incomplete last batch); it runs under autocast.
    """
    if z_a.ndim != 2 or z_a.shape != z_b.shape:
        raise E2MCError(
            f"Barlow Twins needs two views (n, d) of one shape, got {tuple(z_a.shape)} and "
            f"{tuple(z_b.shape)}"
        )
    with torch.autocast(z_a.device.type, enabled=False):
        rows = [gather_rows(at_least_float32(z)) for z in (z_a, z_b)]
        if len(rows[0]) < 2:
            raise E2MCError("Barlow Twins needs at least 2 images in a batch for its correlations")
        terms = barlow_twins_terms(*(F.batch_norm(z, None, None, training=True) for z in rows))
        return _weigh(terms, redundancy)


def _weigh(terms: dict[str, Tensor], redundancy: float) -> Tensor:
    return terms["invariance"] + redundancy * terms["redundancy"]


def barlow_twins_projector(inputs: int, widths: tuple[int, int, int]) -> nn.Sequential:
    """Three linear layers without bias, BatchNorm and ReLU between them (official)."""
    first, second, third = widths
    return nn.Sequential(
        nn.Linear(inputs, first, bias=False),
        nn.BatchNorm1d(first),
        nn.ReLU(inplace=True),
        nn.Linear(first, second, bias=False),
        nn.BatchNorm1d(second),
        nn.ReLU(inplace=True),
        nn.Linear(second, third, bias=False),
    )


class BarlowTwins(Method):
    """A trunk and a wide projector; each view has its own forward pass and BN statistics.

    `bn` standardises embeddings for the loss alone, over all ranks as any BatchNorm in training.
    """

    layout = Layout(
        {
            "backbone.": "module.backbone.",
            "projector.": "module.projector.",
            "bn.": "module.bn.",
        },
        entry="model",
        momentum="mu",
        group=LARS_FILTERS,
    )

    def __init__(self, recipe: recipes.BarlowTwins, backbone: Backbone) -> None:
        super().__init__(recipe, backbone)
        self.projector = barlow_twins_projector(backbone.feature_dimension, recipe.projector)
        self.bn = nn.BatchNorm1d(recipe.projector[-1], affine=False)
        self.redundancy = recipe.redundancy
        self.bias_rate = recipe.bias_rate

    def uninformed_loss(self, images: int) -> float:
        """Of unrelated views, expected: a correlation is 0 on average, its square 1 / (n - 1)."""
        d, square = self.bn.num_features, 1 / (images - 1)
        return d * (1 + square) + self.redundancy * d * (d - 1) * square

    def forward(self, views: list[Tensor]) -> Step:
        """The loss; criteria see the projector's output, before it is standardised."""
        embeddings = [self.embed(view) for view in pair(views, self.name)]
        with torch.autocast(embeddings[0].device.type, enabled=False):
            sizes = rows_per_rank(embeddings[0])
            rows = [gather_rows(self.bn(at_least_float32(z)), sizes) for z in embeddings]
            terms = barlow_twins_terms(*rows)
            loss = _weigh(terms, self.redundancy)
        logged = {f"barlow_twins_{name}": term.detach() for name, term in terms.items()}
        return Step(loss, embeddings, logged)

    def parameter_groups(self, training: Training) -> list[dict[str, Any]]:
        """Weights, then biases and BatchNorm parameters, which learn at a rate of their own."""
        weights = [parameter for parameter in trainable(self) if parameter.ndim > 1]
        others = [parameter for parameter in trainable(self) if parameter.ndim == 1]
        return [{"params": weights}, {"params": others, "relative_rate": self.bias_rate}]

    def official_groups(self) -> list[list[str]]:
        """As `parameter_groups`, which are the official ones."""
        named = list(self.named_parameters())
        return [[name for name, p in named if (p.ndim == 1) is flat] for flat in (False, True)]
