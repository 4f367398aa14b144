"""Marginal entropies by m-spacings: one exact gradient, two ways to sort."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from e2mc.criteria.rows import at_least_float32, refuse_unless_batch

_ROW_BITS = 16  # of a packed sort key; the float32 pattern takes the 32 bits above
_CHUNK = 1 << 17  # elements one thread sorts at a time: 1 MiB of keys stays in a core's cache


def marginal_entropy(u: Tensor, spacing: int | None = None, eps: float = 1e-7) -> Tensor:
    """Differential entropy of every column by the m-spacings estimator (paper Eq. 6, Algorithm 1).

    With the column sorted, u_(1) <= ... <= u_(n), and m the spacing,

        H = 1/(n - m) sum_i log( (n + 1)/m (u_(i+m) - u_(i)) + eps )

    For n independent uniform values E[H] = psi(m) - psi(n + 1) + log((n + 1)/m), slightly below
    the true 0 (-0.0209 at n = 512); a constant column gives log(eps).

    Ties are ranked by row, so the gradient is deterministic. Float32 columns on a CPU are sorted
    as packed integers by torch.get_num_threads() threads; anything else by a stable torch.sort.
    The values do not depend on the number of threads. Differentiable any number of times, forward
    and in reverse, and usable under torch.func; torch.compile traces the formula itself.

    Args:
        u: (n, d) with n >= 2, normally in [0, 1]. Half precision is computed in float32.
        spacing: m. None means round(sqrt(n)) (Algorithm 1). Values above n - 1 act as n - 1,
            so that a small last batch still works (the reference would fail).
        eps: keeps the logarithm finite at ties. 1e-7 as in Algorithm 1; the official SwAV and
            SimSiam scripts use the float32 machine epsilon, 1.19e-7.

    Returns:
        (d,) entropies in nats.

    Raises:
        ValueError: u is not (n, d) with n >= 2, the spacing is below 1, or eps is not positive.

    Cost: O(d n log n) time; forward keeps u and one (n, d) buffer, the gradient, for backward.
    """
    refuse_unless_batch(u, "marginal_entropy")
    rows = u.shape[0]
    spacing = round(math.sqrt(rows)) if spacing is None else spacing
    if spacing < 1:
        raise ValueError(f"spacing must be at least 1, got {spacing}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    u = at_least_float32(u)
    spacing = min(spacing, rows - 1)
    if torch.compiler.is_compiling():  # which cannot look into an autograd.Function with a jvp
        return _spaced(u.sort(dim=0, stable=True).values, spacing, eps).log().mean(dim=0)
    entropy: Tensor = _SpacingEntropy.apply(u, spacing, eps)[0]  # type: ignore[no-untyped-call]
    return entropy


class _SpacingEntropy(torch.autograd.Function):
    """Entropies (d,) and their gradient (n, d), computed together.

    The gradient is an output so that a second derivative passes through it: for backward it is
    then a function of u, not a constant.
    """

    @staticmethod
    def forward(u: Tensor, spacing: int, eps: float) -> tuple[Tensor, Tensor]:
        packable = u.dtype == torch.float32 and u.shape[0] <= 1 << _ROW_BITS
        kernel = _packed_sort if u.device.type == "cpu" and packable else _stable_sort
        return kernel(u, spacing, eps)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, int, float], output: tuple[Tensor, Tensor]
    ) -> None:
        u, ctx.spacing, ctx.eps = inputs
        ctx.save_for_backward(u, output[1])
        ctx.save_for_forward(u, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, weights: Tensor | None, direction: Tensor | None
    ) -> tuple[Tensor | None, None, None]:
        u, gradient = ctx.saved_tensors
        first = None if weights is None else gradient * weights
        if direction is None:
            return first, None, None
        second = _curvature(u, direction, ctx.spacing, ctx.eps)
        return second if first is None else first + second, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor, Tensor]:
        u, gradient = ctx.saved_tensors
        return (gradient * tangent).sum(dim=0), _curvature(u, tangent, ctx.spacing, ctx.eps)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None, None], u: Tensor, spacing: int, eps: float
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        columns = u.movedim(in_dims[0], 1)
        entropy, gradient = _SpacingEntropy.apply(columns.flatten(1), spacing, eps)  # type: ignore[no-untyped-call]
        return (entropy.view(columns.shape[1:]), gradient.view(columns.shape)), (0, 1)


def _spaced(ordered: Tensor, spacing: int, eps: float) -> Tensor:
    """What the logarithm is taken of, from sorted columns: (n - m, d)."""
    return (ordered[spacing:] - ordered[:-spacing]) * ((len(ordered) + 1) / spacing) + eps


def _curvature(u: Tensor, direction: Tensor, spacing: int, eps: float) -> Tensor:
    """Second derivative of each column's entropy times a direction, (n, d), differentiable."""
    rows = u.shape[0]
    ordered, order = u.sort(dim=0, stable=True)
    along = direction.gather(0, order)
    scale = (rows + 1) / spacing
    bend = (along[spacing:] - along[:-spacing]) * (-(scale**2) / (rows - spacing))
    bend = bend / _spaced(ordered, spacing, eps).square()
    nothing = bend.new_zeros(spacing, u.shape[1])
    by_rank = torch.cat([nothing, bend]) - torch.cat([bend, nothing])
    return torch.zeros_like(by_rank).scatter(0, order, by_rank)


def _stable_sort(u: Tensor, spacing: int, eps: float) -> tuple[Tensor, Tensor]:
    """Entropies (d,) and d entropy / d u (n, d), on any device and in any precision."""
    rows = u.shape[0]
    scale = (rows + 1) / spacing
    values, order = torch.sort(u.t().contiguous(), dim=1, stable=True)
    spaced = (values[:, spacing:] - values[:, :-spacing]).mul_(scale).add_(eps)
    entropy = spaced.log().mean(dim=1)
    slope = spaced.reciprocal_().mul_(scale / (rows - spacing))
    by_rank = torch.zeros_like(values)
    by_rank[:, spacing:] = slope
    by_rank[:, :-spacing] -= slope
    gradient = torch.empty_like(u, memory_format=torch.contiguous_format)
    gradient.t().scatter_(1, order, by_rank)
    return entropy, gradient


def _packed_sort(u: Tensor, spacing: int, eps: float) -> tuple[Tensor, Tensor]:
    """The same for float32 on a CPU and n <= 65,536, several times faster.

    NumPy sorts 64-bit integers with vector instructions and without the interpreter lock, but
    has no equally fast argsort. So the bits of a value and its row go into one integer.
    """
    rows, columns = u.shape
    values = u.detach().contiguous().numpy()
    entropy, gradient = np.empty(columns, dtype=np.float32), np.empty_like(values)
    width = max(1, _CHUNK // rows)

    def work(start: int) -> None:
        _packed_columns(values, entropy, gradient, slice(start, start + width), spacing, eps)

    _in_threads(work, range(0, columns, width))
    return torch.from_numpy(entropy), torch.from_numpy(gradient)


def _in_threads(work: Callable[[int], None], starts: range) -> None:
    threads = min(torch.get_num_threads(), len(starts))
    if threads <= 1:
        for start in starts:
            work(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, starts))


def _packed_columns(
    values: npt.NDArray[np.float32],
    entropy: npt.NDArray[np.float32],
    gradient: npt.NDArray[np.float32],
    columns: slice,
    spacing: int,
    eps: float,
) -> None:
    rows, width = values.shape
    scale = (rows + 1) / spacing
    keys = values[:, columns].view(np.int32).T.astype(np.int64, order="C")
    keys ^= (keys >> 63) & 0x7FFFFFFF  # orders negative floats, whose bits run backwards
    keys <<= _ROW_BITS
    keys |= np.arange(rows)
    keys.sort(axis=1)
    bits = (keys >> _ROW_BITS).astype(np.int32)
    bits ^= (bits >> 31) & 0x7FFFFFFF
    ordered = bits.view(np.float32)
    keys &= (1 << _ROW_BITS) - 1

    spaced = ordered[:, spacing:] - ordered[:, :-spacing]
    spaced *= np.float32(scale)
    spaced += np.float32(eps)
    entropy[columns] = np.log(spaced).sum(axis=1, dtype=np.float64) / (rows - spacing)
    slope = np.divide(np.float32(scale / (rows - spacing)), spaced, out=spaced)
    by_rank = np.zeros_like(ordered)
    by_rank[:, spacing:] = slope
    by_rank[:, :-spacing] -= slope

    keys *= width
    keys += np.arange(width)[columns, None]
    gradient.reshape(-1)[keys.ravel()] = by_rank.ravel()
