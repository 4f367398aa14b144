"""Mutual information of two views from second-order statistics."""

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from e2mc.criteria.criterion import Criterion, average, require
from e2mc.criteria.moving_average import MovingAverage


class MutualInformation(Criterion):
    """Maximise the Gaussian mutual information of pairs of views (after arXiv 2409.04747).

        I(Z_a; Z_b) = 1/2 ( log det C_aa + log det C_bb - log det C ),   C = cov([Z_a, Z_b])
        loss = -weight * I

    exact for Gaussian pairs, and by the paper's theorem for any pair that invertible maps of each
    view make Gaussian. Term: ``mutual_information``, in nats, averaged over pairs of views. It is
    a complete objective: it rewards shared information, so aligned and spread-out views.

    What is verified of the paper is this formula (abstract and supplement); no code was found.
    Derived here:

    * Ridge. Every covariance gets r = ridge * (mean variance of both views) on its diagonal, so
      that I stays finite for n <= 2d and is unchanged by scaling both views.
    * ``form="exact"``: with X = (Z - mean)/sqrt(n - 1), log det(X^T X + r I) = log det(I + X X^T/r)
      + d log r, and the d log r cancel in I. So all three determinants may come from n x n
      matrices, and the joint one from X_a X_a^T + X_b X_b^T.
    * ``form="series"``: log det M = -d log c + sum_k (-1)^(k+1)/k tr (c M - I)^k, cut after
      ``order`` terms, with one c for all three so that the constants cancel. 1/c is a moving
      average of the largest eigenvalue of C, which bounds those of C_aa and C_bb; the series
      converges while eigenvalues stay below 2/c. The first order vanishes, the second is
      c^2/2 ||C_ab||_F^2. That the paper rescales by such an average and takes orders 2, 4 or 6 is
      known from a summary only; the momentum encoder it uses is not part of a criterion.

    Computed in float64: log-determinants of nearly singular matrices need it.

    Args:
        weight: of the mutual information.
        form: "exact" or "series".
        order: terms of the series.
        ridge: as a share of the mean variance.
        forgetting: weight of the past in the moving average of the largest eigenvalue (series
            only); it is in the state dict, and each call in training mode updates it once.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weight, unknown form, a series of order below 2, ridge not positive,
            forgetting outside [0, 1); on use, fewer than two views.

    Cost per pair: O(n d s + s^3), s = min(n, 2d), in float64; for the series the cubic part
    ``order`` times.
    """

    minimum_views = 2

    def __init__(
        self,
        weight: float = 1.0,
        form: Literal["exact", "series"] = "exact",
        order: int = 4,
        ridge: float = 1e-3,
        forgetting: float = 0.9,
        gather: bool = True,
    ) -> None:
        require(weight >= 0, f"weight must be >= 0, got {weight}")
        require(form in ("exact", "series"), f'form must be "exact" or "series", got {form!r}')
        require(
            order >= (2 if form == "series" else 1),
            f"order must be at least 2 (the first order of the series vanishes), got {order}",
        )
        require(ridge > 0, f"ridge must be positive, got {ridge}")
        super().__init__({"mutual_information": -weight}, gather)
        self.form = form
        self.order = order
        self.ridge = ridge
        self.largest_eigenvalue = MovingAverage(forgetting)

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Mutual information in nats, averaged over pairs of views."""
        centred = [_centred(view.double()) for view in views]
        pairs = list(combinations(centred, 2))
        joint = [torch.cat(pair, dim=1) for pair in pairs]
        # the floor lets a batch of constant views give 0 instead of a division by zero
        ridges = [self.ridge * (x.square().sum() / x.shape[1] + 1e-12) for x in joint]
        if self.form == "exact":
            each = [
                _log_det(a, r) + _log_det(b, r) - _log_det(x, r)
                for (a, b), x, r in zip(pairs, joint, ridges, strict=True)
            ]
        else:
            each = self._series(pairs, joint, ridges)
        return {"mutual_information": (average(each) / 2).to(views[0].dtype)}

    def _series(
        self, pairs: list[tuple[Tensor, Tensor]], joint: list[Tensor], ridges: list[Tensor]
    ) -> list[Tensor]:
        largest = torch.stack(
            [
                torch.linalg.eigvalsh(_smaller_gram(x.detach()))[-1] + r.detach()
                for x, r in zip(joint, ridges, strict=True)
            ]
        )
        scales = 1 / self.largest_eigenvalue(largest, largest)
        return [
            self._log_det_series(a, r, c)
            + self._log_det_series(b, r, c)
            - self._log_det_series(x, r, c)
            for (a, b), x, r, c in zip(pairs, joint, ridges, scales, strict=True)
        ]

    def _log_det_series(self, x: Tensor, ridge: Tensor, scale: Tensor) -> Tensor:
        """log det(scale (x^T x + ridge I)), truncated."""
        gram = scale * _smaller_gram(x)
        rest = scale * ridge - 1  # of the eigenvalues that the smaller matrix lacks
        matrix = gram + rest * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        total, power = torch.zeros_like(rest), matrix
        for k in range(1, self.order + 1):
            trace = power.trace() + (x.shape[1] - len(gram)) * rest**k
            total = total - (-1) ** k / k * trace
            power = power @ matrix if k < self.order else power
        return total


def _centred(z: Tensor) -> Tensor:
    """X with X^T X the sample covariance."""
    x: Tensor = (z - z.mean(dim=0)) * (z.shape[0] - 1) ** -0.5
    return x


def _smaller_gram(x: Tensor) -> Tensor:
    """x x^T or x^T x: the same non-zero eigenvalues."""
    return x @ x.t() if x.shape[0] < x.shape[1] else x.t() @ x


def _log_det(x: Tensor, ridge: Tensor) -> Tensor:
    """log det(I + x^T x / ridge)."""
    gram = _smaller_gram(x) / ridge
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    factor: Tensor = torch.linalg.cholesky(gram + identity)
    return 2 * factor.diagonal().log().sum()
