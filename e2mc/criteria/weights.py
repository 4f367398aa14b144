"""Weights to start from, measured where they act: in gradients at the embeddings."""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from e2mc.criteria.criterion import Criterion, require
from e2mc.criteria.e2mc import E2MC
from e2mc.criteria.rows import at_least_float32

_SCALE = 1024.0  # float16 does not resolve the gradients of a mean over a batch


def suggest_weights(
    base_loss: Tensor,
    embeddings: Sequence[Tensor],
    criterion: Criterion | None = None,
    share: float = 0.1,
) -> dict[str, float]:
    """Weights with which a criterion pulls at the embeddings with a share of the base loss's force.

        all weights times  share * ||d base_loss / d embeddings|| / ||d criterion / d embeddings||

    with Euclidean norms over all views: the terms keep their ratio, and what is measured is the
    strength. Published weights fit one loss, width, batch size and state of training each; a
    gradient is what all of these come to. Ask on a batch of the model that is to be trained, as
    gradients change by orders of magnitude between a random model and a trained one, and keep the
    answer:

        criterion = E2MC("hypercube", entropy_weight=1.0, covariance_weight="auto")
        criterion.weights = suggest_weights(base_loss, [z_a, z_b], criterion)

    They are not in the criterion's state dict: save them beside it. A criterion that is all but
    satisfied there (VCReg's hinge, where columns are spread out already) gets huge weights, which
    are right for that moment only: look at them.

    Args:
        base_loss: a scalar computed from the embeddings; its graph is kept for your own backward.
        embeddings: one (n, d) per view, the very tensors that the loss was computed from. Views
            without gradient (a teacher's) are seen, and not pulled at.
        criterion: what is to be weighted; None means E2MC on the hypersphere.
        share: of the base loss's gradient norm. Not from the paper; docs/criteria.md has runs.

    Returns:
        What to assign to ``criterion.weights``: the weight of each term, negative where the term is
        maximised. Under torch.distributed all ranks get the same weights.

    Raises:
        ValueError: the loss is not a scalar with gradient or does not depend on the embeddings, the
            criterion has no gradient there, a gradient is not finite, or share is not positive; and
            what `Criterion.terms` refuses.
    """
    require(share > 0, f"share must be positive, got {share}")
    require(
        base_loss.ndim == 0 and base_loss.requires_grad,
        "base_loss must be a scalar with gradient, as it is before backward()",
    )
    require(
        any(view.requires_grad for view in embeddings),
        "the embeddings have no gradient: hand over the projector's output, not a detached copy",
    )
    copies = [at_least_float32(v.detach()).requires_grad_(v.requires_grad) for v in embeddings]
    criterion = E2MC("hypersphere", 1.0, "auto") if criterion is None else criterion
    training = criterion.training
    try:
        added = criterion.eval()(copies)  # measuring is no step of a moving average
    finally:
        criterion.train(training)
    base, own = _over_ranks(_square(base_loss, embeddings), _square(added, copies))
    require(
        math.isfinite(base) and math.isfinite(own),
        f"gradients are not finite: norm {base:g} of base_loss, {own:g} of the criterion. Has the "
        "network diverged?",
    )
    require(
        base > 0,
        "base_loss has no gradient at these embeddings: they must be the very tensors it was "
        "computed from",
    )
    require(own > 0, "the criterion has no gradient at these embeddings: are all weights 0?")
    return {name: weight * share * base / own for name, weight in criterion.weights.items()}


def _square(scalar: Tensor, views: Sequence[Tensor]) -> Tensor:
    """Squared norm of a scalar's gradient over all views that have one."""
    inputs = [view for view in views if view.requires_grad]
    gradients = torch.autograd.grad(scalar * _SCALE, inputs, retain_graph=True, allow_unused=True)
    parts = [(g.double() / _SCALE).square().sum() for g in gradients if g is not None]
    return torch.stack(parts).sum() if parts else inputs[0].new_zeros(()).double()


def _over_ranks(*squares: Tensor) -> list[float]:
    """Norms, of what all ranks have together."""
    total = torch.stack(squares)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
    norms: list[float] = total.sqrt().tolist()
    return norms
