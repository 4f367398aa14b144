"""KoLeo: the nearest-neighbour estimate of entropy on the sphere."""

import torch
from torch import Tensor

from e2mc.criteria.criterion import Criterion, average, require
from e2mc.criteria.rows import unit_rows


class KoLeo(Criterion):
    """Push every embedding away from its nearest neighbours (Kozachenko-Leonenko entropy).

        L(Z) = - mean_i ln( ||u_i - u_nn(i)|| + epsilon ),   u = z L2-normalised
        loss = weight * L

    Term: ``nearest_neighbour``, L averaged over views, in nats; with several neighbours also over
    these. At least -ln 2 (two opposite points). Up to a factor and constants that depend on n and
    d alone, -L is the differential entropy of the directions.

    Source: Sablayrolles et al. 2019 (1806.03198, Eq. 2); dinov2 loss/koleo_loss.py, which has the
    epsilon and the weight 0.1; several neighbours as in DINOv3. Deviation: dinov2 also adds its
    epsilon to every coordinate of the difference, which is below float32's resolution here. Both
    references run per GPU or per group of 16 images unless told otherwise; here neighbours are
    looked for among the rows of all ranks.

    Repeated rows count ln(1/epsilon) = 18.4 and get no gradient from each other: without the
    epsilon they would give infinity, and then NaN.

    Args:
        weight: of L; 0.1 in DINOv2.
        neighbours: how many nearest neighbours each row is pushed away from.
        epsilon: added to distances.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weight, neighbours below 1, epsilon not positive. With fewer than
            neighbours + 1 rows all others are taken.

    Cost per view: O(n^2 d) time, O(n^2 + n d) memory.
    """

    def __init__(
        self,
        weight: float = 0.1,
        neighbours: int = 1,
        epsilon: float = 1e-8,
        gather: bool = True,
    ) -> None:
        require(weight >= 0, f"weight must be >= 0, got {weight}")
        require(neighbours >= 1, f"neighbours must be at least 1, got {neighbours}")
        require(epsilon > 0, f"epsilon must be positive, got {epsilon}")
        super().__init__({"nearest_neighbour": weight}, gather)
        self.neighbours = neighbours
        self.epsilon = epsilon

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Negative mean log-distance to the nearest neighbours, averaged over views."""
        each = [self._crowding(unit_rows(view)) for view in views]
        return {"nearest_neighbour": average(each)}

    def _crowding(self, unit: Tensor) -> Tensor:
        similarities = unit.detach() @ unit.detach().t()
        similarities.diagonal().fill_(-torch.inf)
        nearest = similarities.topk(min(self.neighbours, len(unit) - 1), dim=1).indices
        distances: Tensor = torch.linalg.vector_norm(unit[:, None] - unit[nearest], dim=2)
        return -(distances + self.epsilon).log().mean()
