"""The entropy-reconstruction (ER) bound on the mutual information of two views."""

import math
from functools import lru_cache
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from e2mc.criteria.criterion import Criterion, average, require
from e2mc.criteria.rows import unit_rows


@lru_cache
def log_bessel(order: float, x: float) -> float:
    """Logarithm of the modified Bessel function of the first kind, log I_order(x), for x > 0.

    From its power series with positive terms, summed in the log domain, so that orders in the
    thousands neither underflow nor need a floor. Relative error of I about 1e-12.
    """
    k = torch.arange(int(x) + 64, dtype=torch.float64)
    terms = 2 * k * math.log(x / 2) - torch.lgamma(k + 1) - torch.lgamma(k + order + 1)
    return order * math.log(x / 2) + float(terms.logsumexp(dim=0))


def log_sphere_normalizer(dimensions: int, concentration: float) -> float:
    """log(1/C_d(kappa)) of the von Mises-Fisher density C_d(kappa) exp(kappa mu.z) on S^(d-1)."""
    order = dimensions / 2 - 1
    return (
        dimensions / 2 * math.log(2 * math.pi)
        - order * math.log(concentration)
        + log_bessel(order, concentration)
    )


class EntropyReconstruction(Criterion):
    """Maximise a lower bound on I(Z_a; Z_b): entropy minus reconstruction error (2307.10907).

        I(Z_a; Z_b) >= H(Z_b) + E log q(Z_b | Z_a)
        loss = weight * ( reconstruction_weight * reconstruction - entropy )

    On the unit sphere with von Mises-Fisher kernels of concentration kappa:

        log p(z_i) = log( 1/n sum_j exp(kappa z_i.z_j) ) - log(1/C_d(kappa))     (j = i included)
        entropy        = - mean_i log p(z_i)          Joe's estimator
                       = - sum_i w_i log p(z_i), w = softmax_i log p(z_i)        plug-in
        reconstruction = - kappa mean_i z_a,i.z_b,i + log(1/C_d(kappa))

    Terms, in nats: ``entropy`` averaged over views; ``reconstruction`` averaged over pairs of
    views, if weighted. Called with two views this is the full objective. An add-on to a loss that
    aligns the views already may drop the alignment: ``reconstruction_weight=0`` leaves the
    entropy, and then one view is enough.

    Source: apple/ml-entropy-reconstruction, entropy_reconstruction.py ("average" is Joe's
    estimator, "expectation", its default, the plug-in). The paper's text was not available; the
    discrete variant is left out. Deviation: the reference adds 1e-7 to the Bessel function, which
    replaces it above some 120 dimensions and so shifts its entropies (by more than 1,000 nats at
    d = 1000); the shift has no gradient. Here the function is evaluated in the log domain.

    Args:
        weight: of the bound.
        concentration: kappa, 10 in the reference.
        estimator: "joe" or "plug-in".
        reconstruction_weight: relative to the entropy; 1 is the bound, 0 drops the alignment.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weights, concentration not positive, or an unknown estimator; on use,
            one dimension only (the sphere S^0 has no density) or one view with a reconstruction.

    Cost per view: O(n^2 d) time, O(n^2 + n d) memory.
    """

    def __init__(
        self,
        weight: float = 1.0,
        concentration: float = 10.0,
        estimator: Literal["joe", "plug-in"] = "joe",
        reconstruction_weight: float = 1.0,
        gather: bool = True,
    ) -> None:
        require(weight >= 0, f"weight must be >= 0, got {weight}")
        require(concentration > 0, f"concentration must be positive, got {concentration}")
        require(
            estimator in ("joe", "plug-in"),
            f'estimator must be "joe" or "plug-in", got {estimator!r}',
        )
        require(
            reconstruction_weight >= 0,
            f"reconstruction_weight must be >= 0, got {reconstruction_weight}",
        )
        weights = {"entropy": -weight}
        if reconstruction_weight:
            weights["reconstruction"] = weight * reconstruction_weight
        super().__init__(weights, gather)
        self.concentration = concentration
        self.estimator = estimator

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Entropy on the sphere and, if weighted, the reconstruction error, in nats."""
        dimensions = views[0].shape[1]
        require(dimensions > 1, "EntropyReconstruction needs at least 2 dimensions")
        normalizer = log_sphere_normalizer(dimensions, self.concentration)
        unit = [unit_rows(view) for view in views]
        terms = {"entropy": average([self._entropy(z, normalizer) for z in unit])}
        if "reconstruction" in self.weights:
            pairs = [(a * b).sum(dim=1).mean() for a, b in combinations(unit, 2)]
            require(bool(pairs), "EntropyReconstruction needs two views to reconstruct")
            terms["reconstruction"] = normalizer - self.concentration * average(pairs)
        return terms

    def _entropy(self, z: Tensor, normalizer: float) -> Tensor:
        similarities = self.concentration * (z @ z.t())
        log_density = similarities.logsumexp(dim=1) - math.log(z.shape[0]) - normalizer
        if self.estimator == "joe":
            return -log_density.mean()
        return -(log_density.softmax(dim=0) * log_density).sum()
