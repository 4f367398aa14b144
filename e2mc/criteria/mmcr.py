"""Maximum manifold capacity representations (MMCR)."""

import torch
from torch import Tensor

from e2mc.criteria.criterion import Criterion, require
from e2mc.criteria.rows import unit_rows


class MMCR(Criterion):
    """Maximise the nuclear norm of the centroids of the views (paper section B.1).

        c_i = 1/V sum_v z_i^v / ||z_i^v||,   loss = weight * (-||C||_* + local_weight * local)

    C is (n, d), its rows the centroids, not normalised again.
    Terms: ``nuclear_norm``, ||C||_*, at most sqrt(n min(n, d)); with a local weight also
    ``local_nuclear_norm``, the mean over images of the nuclear norm of the image's (V, d) views.

    Source: Yerxa et al. 2023, loss_mmcr.py of the reference code; official main_swav_mmcr_ft.py:
    all 8 crops, weight 0.005. Deviations: the reference gathers without gradient through other
    ranks' rows, the official script and this class with it; both drop rows with NaN, this class
    raises. The paper does not state the normalisation.

    Args:
        weight: 0.005 in the paper.
        local_weight: lambda of the reference code, 0 there and in the paper.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weights.

    Cost: one singular value decomposition, O(n d min(n, d)).
    """

    all_views = True

    def __init__(
        self, weight: float = 0.005, local_weight: float = 0.0, gather: bool = True
    ) -> None:
        require(weight >= 0, f"weight must be >= 0, got {weight}")
        require(local_weight >= 0, f"local_weight must be >= 0, got {local_weight}")
        weights = {"nuclear_norm": -weight}
        if local_weight:
            weights["local_nuclear_norm"] = weight * local_weight
        super().__init__(weights, gather)

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Nuclear norm of the centroids and, if weighted, of each image's views."""
        unit = torch.stack([unit_rows(view) for view in views], dim=1)
        terms = {"nuclear_norm": torch.linalg.svdvals(unit.mean(dim=1)).sum()}
        if "local_nuclear_norm" in self.weights:
            terms["local_nuclear_norm"] = torch.linalg.svdvals(unit).sum(dim=1).mean()
        return terms
