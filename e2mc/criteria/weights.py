"""Weights to start from, measured where they act: in gradients at the embeddings."""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from e2mc.criteria.criterion import Criterion, require
from e2mc.criteria.e2mc import E2MC


def suggest_weights(
    base_loss: Tensor,
    embeddings: Sequence[Tensor],
    criterion: Criterion | None = None,
    share: float = 0.1,
) -> dict[str, float]:
    """Weights with which each term pulls at the embeddings with a share of the base loss's force.

        |weight of a term| = share * ||d base_loss / d embeddings|| / ||d term / d embeddings||

    with Euclidean norms over all views. The published weights fit one loss, width, batch size and
    state of training each; a gradient is what all of these come to. Ask on a batch or two of the
    model that is to be trained, as gradients change by orders of magnitude from a random model to
    a trained one, and keep the answer:

        criterion = E2MC("hypercube", entropy_weight=1.0, covariance_weight=1.0)
        criterion.weights = suggest_weights(base_loss, [z_a, z_b], criterion)

    Args:
        base_loss: a scalar computed from the embeddings; its graph is kept for your own backward.
        embeddings: one (n, d) per view, the very tensors that the loss was computed from.
        criterion: what is to be weighted; None means E2MC on the hypersphere.
        share: of the base loss's gradient norm, for each term. Not from the paper: 0.1 leaves the
            base loss in charge (docs/criteria.md has runs with other values).

    Returns:
        What to assign to ``criterion.weights``: the weight of each term, negative where the term is
        maximised. A term without gradient here, such as a variance above its target, keeps its
        weight. Under torch.distributed all ranks get the same weights.

    Raises:
        ValueError: the loss is not a scalar with gradient or does not depend on the embeddings, or
            share is not positive; and what `Criterion.terms` refuses.
    """
    require(share > 0, f"share must be positive, got {share}")
    require(
        base_loss.ndim == 0 and base_loss.requires_grad,
        "base_loss must be a scalar with gradient, as it is before backward()",
    )
    require(
        all(view.requires_grad for view in embeddings),
        "the embeddings have no gradient: hand over the projector's output, not a detached copy",
    )
    criterion = E2MC("hypersphere", 1.0, 1.0) if criterion is None else criterion
    training = criterion.training
    try:
        terms = criterion.eval().terms(embeddings)  # measuring is no step of a moving average
    finally:
        criterion.train(training)
    base, *each = _gradient_norms([base_loss, *terms.values()], list(embeddings))
    require(
        base > 0,
        "base_loss has no gradient at these embeddings: they must be the very tensors it was "
        "computed from",
    )
    return {
        name: math.copysign(share * base / norm, criterion.weights[name])
        if norm > 0
        else criterion.weights[name]
        for name, norm in zip(terms, each, strict=True)
    }


def _gradient_norms(scalars: Sequence[Tensor], inputs: list[Tensor]) -> list[float]:
    """Norm of each scalar's gradient over all inputs, and over all ranks."""
    squares = []
    for scalar in scalars:
        gradients = torch.autograd.grad(scalar, inputs, retain_graph=True, allow_unused=True)
        parts = [g.double().square().sum() for g in gradients if g is not None]
        squares.append(torch.stack(parts).sum() if parts else inputs[0].new_zeros(()).double())
    total = torch.stack(squares)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
    norms: list[float] = total.sqrt().tolist()
    return norms
