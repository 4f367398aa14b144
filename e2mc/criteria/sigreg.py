"""SIGReg: every random projection should look like a standard normal variable."""

import torch
from torch import Tensor

from e2mc.criteria.criterion import Criterion, average, require
from e2mc.criteria.slices import RandomSlices


class SIGReg(Criterion):
    """Sketched isotropic Gaussian regularisation (LeJEPA, arXiv 2511.08544).

    The Epps-Pulley test of normality of a^T z, averaged over random unit directions a:

        T(a) = n integral |1/n sum_i exp(i t a^T z_i) - exp(-t^2/2)|^2 exp(-t^2/2) dt
        loss = weight * mean_a T(a)

    by the trapezoidal rule on [-t_max, t_max]; the integrand is even, so half of it is computed
    and doubled. Term: ``epps_pulley``, averaged over views. Its expectation for Gaussian embeddings
    does not depend on n, as the statistic carries the factor n.

    LeJEPA minimises (1 - l) * (squared distance of the views to their mean) + l * SIGReg with l =
    0.05; as an add-on the base loss aligns the views. Collapsed embeddings get no gradient: they
    all sit at the same place of the characteristic function (VISReg was made for that).

    Source: the paper's Eq. 9 and Algorithm 1 (17 points on [-5, 5], the same as t_max=5 with 9
    points here); the default grid, 17 points on [0, 3], is that of its official code. That code
    is CC BY-NC and none of it is used; the numbers agree with lightly's SIGReg (MIT).

    Over ranks: rows are gathered, so the characteristic function is that of the whole batch and
    its gradient is exact. Averaging cosines and sines with an all-reduce that autograd does not
    follow gives the right loss and a wrong gradient (docs/criteria.md).

    Args:
        weight: of the statistic; 0.05 in LeJEPA, beside an alignment of weight 0.95.
        slices: number of directions, drawn anew in each training step.
        t_max: end of the integration.
        points: of the trapezoidal rule on [0, t_max].
        seed: of the directions; the step is in the state dict, so a resumed run goes on exactly.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weight, t_max not positive, fewer than 1 slice or 2 points.

    Cost per view: O(n slices (d + points)) time, O(n slices points) memory.
    """

    norms_matter = True

    def __init__(
        self,
        weight: float = 0.05,
        slices: int = 1024,
        t_max: float = 3.0,
        points: int = 17,
        seed: int = 0,
        gather: bool = True,
    ) -> None:
        require(weight >= 0, f"weight must be >= 0, got {weight}")
        require(slices >= 1, f"slices must be at least 1, got {slices}")
        require(t_max > 0, f"t_max must be positive, got {t_max}")
        require(points >= 2, f"points must be at least 2, got {points}")
        super().__init__({"epps_pulley": weight}, gather)
        self.t_max = t_max
        self.points = points
        self.slices = RandomSlices(slices, seed)

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Epps-Pulley statistic averaged over directions and views."""
        directions = self.slices(views[0])
        return {"epps_pulley": average([self._statistic(view @ directions) for view in views])}

    def _statistic(self, projections: Tensor) -> Tensor:
        t = torch.linspace(
            0, self.t_max, self.points, dtype=projections.dtype, device=projections.device
        )
        angles = t[:, None, None] * projections
        gaussian = (-t.square() / 2).exp()
        error = (angles.cos().mean(dim=1) - gaussian[:, None]).square()
        error = error + angles.sin().mean(dim=1).square()
        integral = torch.trapezoid(error * gaussian[:, None], t, dim=0)
        return 2 * len(projections) * integral.mean()
