"""VCReg: the variance and covariance terms of VICReg as an add-on."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from e2mc.criteria.covariance import covariance_penalty
from e2mc.criteria.criterion import Criterion, average, require, total
from e2mc.criteria.rows import at_least_float32, refuse_unless_batch, unit_rows


def variance_hinge(z: Tensor, target: float = 1.0, epsilon: float = 1e-4) -> Tensor:
    """How far the standard deviations of the columns fall below a target, averaged over them.

        1/d sum_j max(0, target - sqrt(var_j + epsilon)),   var_j unbiased      (VICReg Eq. 1)

    Args:
        z: (n, d) with n >= 2.
        target: gamma in VICReg, 1 there.
        epsilon: 1e-4 in the official VICReg code.

    Returns:
        A scalar >= 0 in the units of z, in float32 at least.

    Raises:
        ValueError: z is not (n, d) with n >= 2.
    """
    refuse_unless_batch(z, "variance_hinge")
    z = at_least_float32(z)
    return F.relu(target - (z.var(dim=0) + epsilon).sqrt()).mean()


class VCReg(Criterion):
    """Keep every dimension spread out, and the dimensions uncorrelated (paper section B.1).

        loss = variance_weight * variance + covariance_weight * covariance

    Terms: ``variance``, `variance_hinge` averaged over views; ``covariance``,
    `covariance_penalty` summed over views.

    Source: paper section B.1 (mu = 0.1, nu = 0.001); official main_swav_vc_ft.py, which has both
    spaces and does not say which one gave Table 3. The official target on the sphere is the
    literal 1/sqrt(128), here 1/sqrt(d): equal for SwAV.

    Args:
        variance_weight: mu.
        covariance_weight: nu.
        space: "hypersphere": on L2-normalised embeddings with target 1/sqrt(d), the spread of a
            uniform sphere (the official default); "projector": on the embeddings as they are,
            with target 1, as in VICReg.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: unknown space or negative weights.

    Cost per view: O(n d min(n, d)) time, four (n, d) buffers.
    """

    def __init__(
        self,
        variance_weight: float = 0.1,
        covariance_weight: float = 0.001,
        space: Literal["hypersphere", "projector"] = "hypersphere",
        gather: bool = True,
    ) -> None:
        require(
            space in ("hypersphere", "projector"),
            f'space must be "hypersphere" or "projector", got {space!r}',
        )
        require(variance_weight >= 0, f"variance_weight must be >= 0, got {variance_weight}")
        require(covariance_weight >= 0, f"covariance_weight must be >= 0, got {covariance_weight}")
        super().__init__({"variance": variance_weight, "covariance": covariance_weight}, gather)
        self.space = space

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Variance hinge and covariance penalty in the chosen space."""
        target = 1.0
        if self.space == "hypersphere":
            views = [unit_rows(view) for view in views]
            target = views[0].shape[1] ** -0.5
        return {
            "variance": average([variance_hinge(view, target) for view in views]),
            "covariance": total([covariance_penalty(view) for view in views]),
        }
