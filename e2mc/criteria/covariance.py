"""The squared off-diagonal covariance, in whichever of two equal forms is cheap and accurate."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def covariance_penalty(u: Tensor) -> Tensor:
    """Sum of the squared off-diagonal sample covariances, divided by the number of dimensions.

        C = Xc^T Xc / (n - 1),   penalty = 1/d sum_{j != k} C_jk^2     (Algorithm 1; VICReg Eq. 3)

    Xc is u less its column means. This is the covariance term of E2MC (on the unit cube) and of
    VICReg (on the projector's output). Independent uniform columns have the expectation
    (d - 1)/(144 (n - 1)), so at equal dependence the penalty grows like d.

    Two forms of the same number and gradient:

    * d < 2(n - 1): the d x d covariance with its diagonal set to zero. Nothing cancels.
    * otherwise: ||Xc Xc^T||_F^2 - sum_j (Xc^T Xc)_jj^2 from the n x n Gram matrix, which never
      forms a d x d matrix (8192 x 8192 in VICReg). It subtracts two numbers, which would lose
      everything for decorrelated columns if d were small. But the n x n Gram matrix has rank at
      most n - 1, hence at equal variances the penalty is at least (d/(n - 1) - 1) times the
      number subtracted: no digit is lost exactly where this form is the cheaper one. With very
      unequal variances the error stays small beside the mean squared variance.

    Deviations: Eq. 8 of the paper lacks the 1/(n - 1)^2 that its Algorithm 1 and code have. The
    official code divides by the configured batch size less 1, this function by the actual n - 1,
    which differs in an incomplete last batch only. The term is computed outside autocast;
    TF32 matrix products, if switched on, reduce it to three digits. Differentiable once.

    Args:
        u: (n, d) with n >= 2. Half precision is computed in float32.

    Returns:
        A scalar >= 0, in squared squared units of u; 0 for d = 1.

    Raises:
        ValueError: u is not (n, d) with n >= 2.

    Cost: O(n d min(n, d)) time; forward keeps one (n, d) buffer, the gradient, for backward.
    """
    if u.ndim != 2 or u.shape[0] < 2:
        raise ValueError(f"covariance_penalty needs (n, d) with n >= 2, got {tuple(u.shape)}")
    with torch.autocast(u.device.type, enabled=False):
        u = u.to(torch.promote_types(u.dtype, torch.float32))
        penalty: Tensor = _CovariancePenalty.apply(u)  # type: ignore[no-untyped-call]
    return penalty


class _CovariancePenalty(torch.autograd.Function):
    """Computes the gradient beside the value, so that nothing else is kept for backward."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        rows, columns = u.shape
        scale = (rows - 1) ** -0.5
        x = (u - u.mean(dim=0)).mul_(scale)
        form = _direct_form if columns < 2 * (rows - 1) else _gram_form
        total, gradient = form(x)
        # x has zero column means, and so has this gradient: the centring needs no chain rule
        ctx.save_for_backward(gradient.mul_(4 * scale / columns))
        return total / columns

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> Tensor:
        gradient: Tensor = ctx.saved_tensors[0]
        return weight * gradient


def _direct_form(x: Tensor) -> tuple[Tensor, Tensor]:
    """sum_{j != k} (x^T x)_jk^2 and a quarter of its gradient, (n, d)."""
    covariance = (x.t() @ x).fill_diagonal_(0)
    gradient = x @ covariance
    return covariance.square_().sum(), gradient


def _gram_form(x: Tensor) -> tuple[Tensor, Tensor]:
    """The same through the (n, n) matrix x x^T."""
    gram = x @ x.t()
    variances = x.square().sum(dim=0)
    gradient = (gram @ x).addcmul_(x, variances, value=-1)
    total = gram.square_().sum() - variances.square().sum()
    return total.clamp_(min=0), gradient
