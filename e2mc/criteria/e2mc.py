"""Effective entropy maximisation (E2MC), the paper's criterion."""

from typing import Literal

import torch
from torch import Tensor

from e2mc.criteria.covariance import covariance_penalty
from e2mc.criteria.criterion import Criterion, average, require, total
from e2mc.criteria.rows import at_least_float32
from e2mc.criteria.spacings import marginal_entropy

Space = Literal["hypercube", "hypersphere"]

PUBLISHED_RATIO: dict[Space, tuple[float, int]] = {
    "hypercube": (100 / 1000, 8192),  # VICReg
    "hypersphere": (25 / 1, 128),  # SwAV
}
"""Covariance weight over entropy weight in sections B.1 and D.2, and the d that it is for."""


def to_unit_cube(z: Tensor, space: Space) -> Tensor:
    """Map embeddings to the unit cube, where the uniform distribution has maximum entropy 0.

    Args:
        z: (n, d) embeddings, before any L2 normalisation.
        space: "hypercube": the logistic sigmoid, for methods without normalised embeddings
            (VICReg). "hypersphere": the standard normal distribution function, for methods that
            compare directions (SwAV, SimSiam): a uniform cube then is a Gaussian z, and a
            Gaussian z is uniform on the sphere after normalisation (paper section 4).

    Returns:
        (n, d) in [0, 1]. Half precision is computed, and returned, in float32.

    Raises:
        ValueError: an unknown space.

    Deviation: the official code writes the distribution function with erf; here it is ndtr,
    which keeps its relative precision in the lower tail.
    """
    z = at_least_float32(z)
    if space == "hypercube":
        return torch.sigmoid(z)
    if space == "hypersphere":
        cumulative: Tensor = torch.special.ndtr(z)
        return cumulative
    raise ValueError(f'space must be "hypercube" or "hypersphere", got {space!r}')


class E2MC(Criterion):
    """Maximise marginal entropies, minimise covariances, on the unit cube (paper Eqs. 7 and 8).

        loss = - entropy_weight * entropy + covariance_weight * covariance

    Terms: ``entropy``, the m-spacings entropy averaged over dimensions, in nats (<= about 0), and
    averaged or summed over views; ``covariance``, the covariance penalty summed over views.

    Published weights (sections B.1 and D.2; d and space in brackets): VICReg 1000, 100 (8192,
    hypercube); SwAV 1, 25 (128, hypersphere); SimSiam 0.001, 0.01 (2048, hypersphere).

    Source: Algorithm 1; official main_{vicreg,swav,simsiam}_ent_ft.py. The paper sums both terms
    over views, the official scripts average the entropy and sum the covariance, so their entropy
    weight counts half. Default: the scripts, which most likely made the published numbers. They
    run under autocast (VICReg, SwAV); here everything is float32, as half precision changes the
    gradient by 9 to 25 %.

    Args:
        space: "hypercube" or "hypersphere", see `to_unit_cube`.
        entropy_weight: beta.
        covariance_weight: gamma. "auto": the published ratio to the entropy weight, of VICReg
            (hypercube) or SwAV (hypersphere), times (their d)/d, as the covariance term grows like
            d; d is that of the first batch, before which the criterion has no such weight.
        entropy_over_views: "mean" (official code) or "sum" (Algorithm 1).
        spacing: m of the entropy estimate; None means round(sqrt(n)).
        epsilon: inside the logarithm; 1e-7 in Algorithm 1.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: unknown space or entropy_over_views, negative weights, "auto" without an
            entropy weight, spacing below 1, epsilon not positive.

    Cost per view: O(d n log n + n d min(n, d)) time, three (n, d) buffers.
    """

    norms_matter = True

    def __init__(
        self,
        space: Space,
        entropy_weight: float,
        covariance_weight: float | Literal["auto"],
        entropy_over_views: Literal["mean", "sum"] = "mean",
        spacing: int | None = None,
        epsilon: float = 1e-7,
        gather: bool = True,
    ) -> None:
        require(
            space in ("hypercube", "hypersphere"),
            f'space must be "hypercube" or "hypersphere", got {space!r}',
        )
        require(
            entropy_over_views in ("mean", "sum"),
            f'entropy_over_views must be "mean" or "sum", got {entropy_over_views!r}',
        )
        require(entropy_weight >= 0, f"entropy_weight must be >= 0, got {entropy_weight}")
        weights = {"entropy": -entropy_weight}
        if covariance_weight == "auto":
            require(entropy_weight > 0, 'covariance_weight "auto" needs an entropy_weight above 0')
        else:
            require(
                covariance_weight >= 0,
                f'covariance_weight must be >= 0 or "auto", got {covariance_weight}',
            )
            weights["covariance"] = covariance_weight
        require(spacing is None or spacing >= 1, f"spacing must be at least 1, got {spacing}")
        require(epsilon > 0, f"epsilon must be positive, got {epsilon}")
        super().__init__(weights, gather)
        self.space = space
        self.entropy_over_views = entropy_over_views
        self.spacing = spacing
        self.epsilon = epsilon

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Entropy (nats) and covariance of the views on the unit cube."""
        if "covariance" not in self.weights:
            ratio, width = PUBLISHED_RATIO[self.space]
            per_entropy = ratio * width / views[0].shape[1]
            self.weights["covariance"] = -self.weights["entropy"] * per_entropy
        cubes = [to_unit_cube(view, self.space) for view in views]
        over_views = average if self.entropy_over_views == "mean" else total
        return {
            "entropy": over_views(
                [marginal_entropy(u, self.spacing, self.epsilon).mean() for u in cubes]
            ),
            "covariance": total([covariance_penalty(u) for u in cubes]),
        }
