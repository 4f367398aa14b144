"""The squared off-diagonal covariance, in whichever of two equal forms is cheap and accurate."""

from typing import Any

import torch
from torch import Tensor

from e2mc.criteria.rows import at_least_float32, refuse_unless_batch


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
    TF32 matrix products, if switched on, reduce it to three digits. Differentiable any number of
    times, forward and in reverse, and usable under torch.func; torch.compile traces the formula.

    Args:
        u: (n, d) with n >= 2. Half precision is computed in float32.

    Returns:
        A scalar >= 0, in squared squared units of u; 0 for d = 1.

    Raises:
        ValueError: u is not (n, d) with n >= 2.

    Cost: O(n d min(n, d)) time; forward keeps u and one (n, d) buffer, the gradient, for backward.
    """
    refuse_unless_batch(u, "covariance_penalty")
    with torch.autocast(u.device.type, enabled=False):
        u = at_least_float32(u)
        if torch.compiler.is_compiling():  # which cannot look into an autograd.Function with a jvp
            return _formula(u)
        penalty: Tensor = _CovariancePenalty.apply(u)[0]  # type: ignore[no-untyped-call]
    return penalty


class _CovariancePenalty(torch.autograd.Function):
    """The penalty and its gradient (n, d), computed together.

    The gradient is an output so that a second derivative passes through it: for backward it is
    then a function of u, not a constant.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor) -> tuple[Tensor, Tensor]:
        x, scale = _scaled(u)
        total, gradient = (_direct_form if _direct_is_cheaper(x) else _gram_form)(x)
        # x has zero column means, and so has this gradient: the centring needs no chain rule
        return total / u.shape[1], gradient.mul_(4 * scale / u.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(inputs[0], output[1])
        ctx.save_for_forward(inputs[0], output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, weight: Tensor | None, direction: Tensor | None) -> Tensor | None:
        u, gradient = ctx.saved_tensors
        first: Tensor | None = None if weight is None else weight * gradient
        if direction is None:
            return first
        second = _curvature(u, direction)
        return second if first is None else first + second

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> tuple[Tensor, Tensor]:
        u, gradient = ctx.saved_tensors
        return (gradient * tangent).sum(), _curvature(u, tangent)


def _scaled(u: Tensor) -> tuple[Tensor, float]:
    """X with X^T X the sample covariance, and its factor."""
    scale = (u.shape[0] - 1) ** -0.5
    return (u - u.mean(dim=0)).mul_(scale), scale


def _direct_is_cheaper(x: Tensor) -> bool:
    return x.shape[1] < 2 * (x.shape[0] - 1)


def _formula(u: Tensor) -> Tensor:
    """The penalty in operations that autograd knows."""
    x, _ = _scaled(u)
    if _direct_is_cheaper(x):
        covariance = x.t() @ x
        total = (covariance - covariance.diagonal().diag()).square().sum()
    else:
        total = (x @ x.t()).square().sum() - x.square().sum(dim=0).square().sum()
    return total.clamp(min=0) / u.shape[1]


def _curvature(u: Tensor, direction: Tensor) -> Tensor:
    """Second derivative of the penalty times a direction, (n, d), differentiable.

    The gradient is 4/d s P(x, x, x) with P(a, b, c) = c off(a^T b) linear in all three.
    """
    x, scale = _scaled(u)
    v = direction - direction.mean(dim=0)
    bend = _through_pairs(v, x, x) + _through_pairs(x, v, x) + _through_pairs(x, x, v)
    return bend * (4 * scale**2 / u.shape[1])


def _through_pairs(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """c off(a^T b), where off sets the diagonal to zero."""
    if _direct_is_cheaper(a):
        product = a.t() @ b
        return c @ (product - product.diagonal().diag())
    return (c @ a.t()) @ b - c * (a * b).sum(dim=0)


def _direct_form(x: Tensor) -> tuple[Tensor, Tensor]:
    """sum_{j != k} (x^T x)_jk^2 and a quarter of its gradient, (n, d)."""
    covariance = x.t() @ x
    covariance.diagonal().zero_()
    gradient = x @ covariance
    return covariance.mul_(covariance).sum(), gradient


def _gram_form(x: Tensor) -> tuple[Tensor, Tensor]:
    """The same through the (n, n) matrix x x^T."""
    gram = x @ x.t()
    variances = x.square().sum(dim=0)
    gradient = torch.addcmul(gram @ x, x, variances, value=-1)
    total = gram.mul_(gram).sum() - variances.square().sum()
    return total.clamp(min=0), gradient
