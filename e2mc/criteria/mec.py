"""Maximum entropy coding (MEC)."""

from itertools import combinations

import torch
from torch import Tensor

from e2mc.criteria.criterion import Criterion, average, require
from e2mc.criteria.rows import unit_rows

_WARMUP_FACTOR = 8  # main_pretrain.py raises 1/lambda eightfold at the start


class MEC(Criterion):
    """Maximise the coding length of pairs of views (Liu et al. 2022, Eq. 3).

        L = log det(I + lambda Z_a Z_b^T) = sum_k (-1)^(k+1)/k tr (lambda Z_a Z_b^T)^k
        loss = -weight * L / (lambda n),   lambda = d/(n distortion),   rows L2-normalised

    Term: ``coding_length``, L/(lambda n), averaged over pairs of views; its first order is the
    mean cosine similarity, so it aligns the views as it spreads them. It is thus a complete
    objective; as an add-on it is applied to the two views as they are.

    Source: MEC main_pretrain.py, which compares a predictor's output with a momentum teacher's
    (this class takes any two views) and averages over both orders (equal here: the trace of a
    transpose). The paper multiplies by (n + d)/2; the code, and this class, by 1/(lambda n).

    The series converges only while the spectral norm of lambda Z_a Z_b^T is below 1, which
    collapsed or unconverged embeddings violate (up to d/distortion). From scratch use
    ``warmup_steps``, as the reference does for 10 epochs, or a larger distortion.

    Args:
        weight: of the coding length.
        order: terms of the Taylor series, 4 in the reference.
        distortion: d times the squared decoding error; 64 in the reference.
        warmup_steps: calls in training mode over which 1/lambda falls linearly from 8 times its
            value; counted in the state dict.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weight, order below 1, distortion not positive, negative
            warmup_steps.

    Cost per pair: O(n d s + order s^3) with s = min(n, d), as the n x n and the d x d product
    have the same traces.
    """

    minimum_views = 2
    step: Tensor

    def __init__(
        self,
        weight: float = 1.0,
        order: int = 4,
        distortion: float = 64.0,
        warmup_steps: int = 0,
        gather: bool = True,
    ) -> None:
        require(weight >= 0, f"weight must be >= 0, got {weight}")
        require(order >= 1, f"order must be at least 1, got {order}")
        require(distortion > 0, f"distortion must be positive, got {distortion}")
        require(warmup_steps >= 0, f"warmup_steps must be >= 0, got {warmup_steps}")
        super().__init__({"coding_length": -weight}, gather)
        self.order = order
        self.distortion = distortion
        self.warmup_steps = warmup_steps
        self.register_buffer("step", torch.tensor(0))

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Coding length per sample, averaged over pairs of views."""
        rows, columns = views[0].shape
        scale = columns / (rows * self.distortion) / self._warmup(views[0].dtype)
        unit = [unit_rows(view) for view in views]
        pairs = [self._series(a, b, scale) for a, b in combinations(unit, 2)]
        return {"coding_length": average(pairs) / (scale * rows)}

    def _warmup(self, dtype: torch.dtype) -> float | Tensor:
        if self.warmup_steps == 0:
            return 1.0
        done = (self.step.to(dtype) / self.warmup_steps).clamp(max=1)
        if self.training:
            self.step += 1
        return _WARMUP_FACTOR + (1 - _WARMUP_FACTOR) * done

    def _series(self, a: Tensor, b: Tensor, scale: float | Tensor) -> Tensor:
        product = scale * (a @ b.t() if a.shape[0] <= a.shape[1] else b.t() @ a)
        total, power = product.trace(), product
        for k in range(2, self.order + 1):
            total = total - (-1) ** k / k * (power * product.t()).sum()
            if k < self.order:
                power = power @ product
        return total
