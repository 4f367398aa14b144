"""Radial-VCReg: VCReg, and norms distributed as those of a Gaussian."""

import torch
from torch import Tensor

from e2mc.criteria.covariance import covariance_penalty
from e2mc.criteria.criterion import Criterion, average, require
from e2mc.criteria.spacings import marginal_entropy
from e2mc.criteria.vcreg import variance_hinge


class RadialVCReg(Criterion):
    """Draw the norms of the embeddings towards a chi distribution, beside VCReg (2602.14272).

        r_i = ||z_i||,   cross_entropy = mean_i ( r_i^2/2 - (d - 1) ln r_i ),   entropy = H_m(r)
        loss = variance_weight * variance + covariance_weight * covariance
               + cross_entropy_weight * cross_entropy - entropy_weight * entropy

    H_m is the m-spacings entropy of E2MC, of the radius as it is. With equal weights the last two
    are the Kullback-Leibler divergence from the radii to the norm of a standard Gaussian vector,
    up to a constant. Zero-mean, uncorrelated columns and a chi radius are necessary for a
    Gaussian and rule out the "X" in which all covariances vanish; they do not look at directions.

    Terms: ``variance`` (`variance_hinge`) and ``covariance`` (`covariance_penalty`), on the
    embeddings as they are; ``cross_entropy`` and ``entropy`` of the radius in nats. All averaged
    over views. The cross-entropy is least, (d - 1)/2 (1 - ln(d - 1)), at r = sqrt(d - 1).

    Source: the paper's forward KL objective; YilunKuang/RadialVCReg (MIT), train_xdist.py, whose
    weights for the "X" are the defaults, and whose epsilon of 1e-6 serves the logarithm of the
    spacings, the smallest radius and the variance alike. The reverse KL and the Wasserstein form
    are left out.

    Args:
        variance_weight: of the variance hinge.
        covariance_weight: of the covariance penalty.
        cross_entropy_weight: beta_1 of the radial term.
        entropy_weight: beta_2 of the radial term.
        spacing: m of the entropy estimate; None means round(sqrt(n)).
        epsilon: keeps logarithms and square roots finite.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weights, spacing below 1, epsilon not positive.

    Cost per view: O(n d min(n, d)) time, four (n, d) buffers.
    """

    norms_matter = True

    def __init__(
        self,
        variance_weight: float = 1.0,
        covariance_weight: float = 1.0,
        cross_entropy_weight: float = 100.0,
        entropy_weight: float = 100.0,
        spacing: int | None = None,
        epsilon: float = 1e-6,
        gather: bool = True,
    ) -> None:
        weights = {
            "variance": variance_weight,
            "covariance": covariance_weight,
            "cross_entropy": cross_entropy_weight,
            "entropy": entropy_weight,
        }
        for name, weight in weights.items():
            require(weight >= 0, f"{name}_weight must be >= 0, got {weight}")
        require(spacing is None or spacing >= 1, f"spacing must be at least 1, got {spacing}")
        require(epsilon > 0, f"epsilon must be positive, got {epsilon}")
        super().__init__({**weights, "entropy": -entropy_weight}, gather)
        self.spacing = spacing
        self.epsilon = epsilon

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Variance, covariance and the two radial terms, averaged over views."""
        each = [self._terms(view) for view in views]
        return {name: average([terms[name] for terms in each]) for name in self.weights}

    def _terms(self, z: Tensor) -> dict[str, Tensor]:
        radius = torch.linalg.vector_norm(z, dim=1).clamp(min=self.epsilon)
        misfit = radius.square() / 2 - (z.shape[1] - 1) * radius.log()
        return {
            "variance": variance_hinge(z, epsilon=self.epsilon),
            "covariance": covariance_penalty(z),
            "cross_entropy": misfit.mean(),
            "entropy": marginal_entropy(radius[:, None], self.spacing, self.epsilon).mean(),
        }
