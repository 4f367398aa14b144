"""CorInfoMax: log-determinants of running covariances."""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from e2mc.criteria.criterion import Criterion, average, require
from e2mc.criteria.moving_average import MovingAverage
from e2mc.criteria.rows import unit_rows


class CorInfoMax(Criterion):
    """Maximise the log-determinant of each view's covariance (Ozsoy et al. 2022).

        mu <- f mu + (1 - f) mean(z)
        R  <- f R  + (1 - f) (z - mu)^T (z - mu) / n,      R_0 = I,  mu_0 = 0
        loss = weight * ( - 1/d sum_views log det(R + epsilon I) + invariance_weight * MSE )

    Terms: ``log_determinant``, the sum over views, per dimension, in nats; with an invariance
    weight also ``invariance``, the mean squared error over all n d entries, averaged over pairs
    of views. Gradients flow through the present batch, not the past.

    As an add-on the base loss aligns the views, so the invariance weight is 0 by default. As an
    objective of its own the reference takes 2000 on ImageNet-1k, 250 on CIFAR-10, 1000 on
    CIFAR-100 and 500 elsewhere.

    Source: corinfomax-ssl imagenet1k/loss.py, CovarianceLossv2; denominators n, averages and
    determinants in float64 as there. Each call in training mode updates the averages once.

    Args:
        weight: of the whole loss.
        forgetting: f, the weight of the past; 0.1 on ImageNet-1k, 0.01 on CIFAR.
        invariance_weight: of the mean squared error, relative to the log-determinants.
        epsilon: ridge; 1e-8 on the reference's command line.
        normalize: L2-normalise the rows first, as the reference does.
        gather: use the rows of all ranks, with gradient.

    Raises:
        ValueError: negative weights, forgetting outside [0, 1), epsilon not positive; on use, a
            number of views or dimensions other than in the first call.

    Cost per view: O(n d^2 + d^3) in float64, and a (d, d) buffer. Meant for d up to some 2,000.
    """

    def __init__(
        self,
        weight: float = 1.0,
        forgetting: float = 0.1,
        invariance_weight: float = 0.0,
        epsilon: float = 1e-8,
        normalize: bool = True,
        gather: bool = True,
    ) -> None:
        require(weight >= 0, f"weight must be >= 0, got {weight}")
        require(invariance_weight >= 0, f"invariance_weight must be >= 0, got {invariance_weight}")
        require(epsilon > 0, f"epsilon must be positive, got {epsilon}")
        weights = {"log_determinant": -weight}
        if invariance_weight:
            weights["invariance"] = weight * invariance_weight
        super().__init__(weights, gather)
        self.epsilon = epsilon
        self.normalize = normalize
        self.mean = MovingAverage(forgetting)
        self.covariance = MovingAverage(forgetting)

    def measure(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Log-determinants of the running covariances and, if weighted, the invariance."""
        aligned = "invariance" in self.weights
        require(not aligned or len(views) > 1, "CorInfoMax needs two views for its invariance term")
        if self.normalize:
            views = [unit_rows(view) for view in views]
        z = torch.stack(views).double()
        rows, columns = views[0].shape
        mean = self.mean(z.mean(dim=1), torch.zeros_like(z[:, 0]))
        centred = z - mean[:, None]
        identity = torch.eye(columns, dtype=z.dtype, device=z.device)
        batch = centred.transpose(1, 2) @ centred / rows
        covariance = self.covariance(batch, identity.expand_as(batch))
        terms = {
            "log_determinant": torch.logdet(covariance + self.epsilon * identity).sum() / columns
        }
        if aligned:
            terms["invariance"] = average([F.mse_loss(a, b) for a, b in combinations(views, 2)])
        return {name: term.to(views[0].dtype) for name, term in terms.items()}
