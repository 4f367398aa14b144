"""AUH uniformity: spread the batch over the hypersphere."""

import math
from typing import Literal

import torch
from torch import Tensor

from e2mc.criteria.criterion import Criterion, average, require, total
from e2mc.criteria.rows import unit_rows


class Uniformity(Criterion):
    """Logarithm of the mean Gaussian potential between embeddings (AUH in the paper, Eq. B.3).

        U(Z) = log mean_{p < q} exp(-t ||z_p - z_q||^2),   z L2-normalised;   loss = weight * U

    Term: ``uniformity``, U averaged or summed over views; between -4t (never reached) and 0.

    Source: Wang and Isola 2020, align_uniform code; official main_swav_unif_ft.py. Both average
    over views and take distinct pairs of normalised rows; paper Eq. B.3 sums over views and
    mentions neither. Squared distances come from one matrix product instead of pdist, which
    gives repeated rows a smooth gradient.

    Args:
        weight: lambda, 0.5 in the paper (the script's default is 1).
        kernel_width: t of the Gaussian potential, 2 in the paper (the script's default is 3).
        over_views: "mean" (official code) or "sum" (Eq. B.3).
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weight, kernel_width not positive, or unknown over_views.

    Cost per view: O(n^2 d) time, O(n^2 + n d) memory.
    """

    def __init__(
        self,
        weight: float = 0.5,
        kernel_width: float = 2.0,
        over_views: Literal["mean", "sum"] = "mean",
        gather: bool = True,
    ) -> None:
        require(weight >= 0, f"weight must be >= 0, got {weight}")
        require(kernel_width > 0, f"kernel_width must be positive, got {kernel_width}")
        require(
            over_views in ("mean", "sum"), f'over_views must be "mean" or "sum", got {over_views!r}'
        )
        super().__init__({"uniformity": weight}, gather)
        self.kernel_width = kernel_width
        self.over_views = over_views

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Uniformity of the L2-normalised views."""
        over_views = average if self.over_views == "mean" else total
        each = [self._uniformity(unit_rows(view)) for view in views]
        return {"uniformity": over_views(each)}

    def _uniformity(self, z: Tensor) -> Tensor:
        rows = z.shape[0]
        norms = z.square().sum(dim=1)
        distances = norms[:, None] + norms[None, :] - 2 * (z @ z.t())
        potentials = -self.kernel_width * distances
        potentials.diagonal().fill_(-torch.inf)
        return potentials.flatten().logsumexp(dim=0) - math.log(rows * (rows - 1))
