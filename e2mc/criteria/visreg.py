"""VISReg: centre, scale and Gaussian shape as three separate terms."""

import torch
from torch import Tensor

from e2mc.criteria.criterion import Criterion, average, require
from e2mc.criteria.slices import RandomSlices

_SMALLEST_VARIANCE = 1e-12  # below it a column is constant, and its square root has no slope


class VISReg(Criterion):
    """Variance-invariance-sketching regularisation (arXiv 2606.02572), less the invariance.

        centre = mean_j mu_j^2,    scale = mean_j (1 - s_j)^2                        (Eqs. 6 and 1)
        shape  = mean_a 1/n sum_i ( (a^T y)_(i) - q_i )^2,   y = (z - mu)/(s + epsilon)      (Eq. 5)

    with the column means mu and standard deviations s (denominator n), random unit directions a,
    sorted projections, and the standard normal quantiles q_i at i/(n + 1): a sliced 2-Wasserstein
    distance. No gradient flows through s in the shape, so that shape and scale do not interfere;
    the scale keeps its gradient when embeddings collapse.

    Terms: ``centre``, ``scale``, ``shape``, averaged over views.

    Source: the paper's Algorithm 1, total (1 - l) * invariance + l * (scale + shape + centre) with
    l = 0.9 for large and 0.6 for small data sets. The official code is CC BY-NC and none of it is
    used; the numbers agree with lightly's VISReg (MIT). There every GPU draws slices of its own
    for its own rows; here all ranks share slices and rows, so more GPUs give the same loss.

    Args:
        centre_weight, scale_weight, shape_weight: of the three terms, equal in the paper.
        slices: number of directions, drawn anew in each training step.
        epsilon: added to the standard deviations that the shape divides by.
        seed: of the directions; the step is in the state dict, so a resumed run goes on exactly.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weights, fewer than 1 slice, epsilon not positive.

    Cost per view: O(n slices (d + log n)) time, O(n (d + slices)) memory.
    """

    norms_matter = True

    def __init__(
        self,
        centre_weight: float = 1.0,
        scale_weight: float = 1.0,
        shape_weight: float = 1.0,
        slices: int = 4096,
        epsilon: float = 1e-4,
        seed: int = 0,
        gather: bool = True,
    ) -> None:
        weights = {"centre": centre_weight, "scale": scale_weight, "shape": shape_weight}
        for name, weight in weights.items():
            require(weight >= 0, f"{name}_weight must be >= 0, got {weight}")
        require(slices >= 1, f"slices must be at least 1, got {slices}")
        require(epsilon > 0, f"epsilon must be positive, got {epsilon}")
        super().__init__(weights, gather)
        self.epsilon = epsilon
        self.slices = RandomSlices(slices, seed)

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Centre, scale and shape, averaged over views."""
        directions = self.slices(views[0])
        each = [self._terms(view, directions) for view in views]
        return {name: average([terms[name] for terms in each]) for name in self.weights}

    def _terms(self, z: Tensor, directions: Tensor) -> dict[str, Tensor]:
        mean = z.mean(dim=0)
        deviation = z.var(dim=0, correction=0).clamp(min=_SMALLEST_VARIANCE).sqrt()
        standard = (z - mean) / (deviation.detach() + self.epsilon)
        # sorting along rows that lie together in memory takes less than half the time
        ordered = (directions.t() @ standard.t()).sort(dim=1).values
        return {
            "centre": mean.square().mean(),
            "scale": (1 - deviation).square().mean(),
            "shape": (ordered - _normal_quantiles(ordered)).square().mean(),
        }


def _normal_quantiles(ordered: Tensor) -> Tensor:
    """Of the standard normal distribution at i/(n + 1), for (slices, n) sorted projections."""
    n = ordered.shape[1]
    ranks = torch.arange(1, n + 1, dtype=ordered.dtype, device=ordered.device)
    quantiles: Tensor = torch.special.ndtri(ranks / (n + 1))
    return quantiles
