"""SwAV (Caron et al., NeurIPS 2020)."""

import math
from collections.abc import Sequence
from itertools import groupby

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone, Training
from e2mc.criteria.gather import gather_rows, rows_per_rank
from e2mc.criteria.rows import at_least_float32
from e2mc.errors import E2MCError
from e2mc.methods.layout import Layout
from e2mc.methods.method import Method, Step, global_mean


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Assign rows softly to prototypes, so that every prototype gets an equal share (SwAV Eq. 5).

    Q = exp(scores / epsilon), then in turn every column is scaled to one sum and every row to
    one, by Sinkhorn and Knopp's iterations (official `distributed_sinkhorn`). Under
    torch.distributed columns are summed over all ranks.

    Deviation: it works on log Q, in float32 at least, so that it cannot overflow; the official
    code exponentiates scores / 0.05, which overflows float16 at a score of 0.56.

    Args:
        scores: (n, prototypes), similarities of rows to prototypes.
        epsilon: entropic regularisation; smaller is harder.
        iterations: 3 in the official code. The columns are equal in the limit only.

    Returns:
        (n, prototypes), each row summing to one, without gradient.

    Raises:
        E2MCError: not (n, prototypes) with n >= 1.
    """
    if scores.ndim != 2 or len(scores) == 0:
        raise E2MCError(f"sinkhorn needs scores (n, prototypes), got {tuple(scores.shape)}")
    with torch.autocast(scores.device.type, enabled=False):
        logarithms = at_least_float32(scores) / epsilon
        for _ in range(iterations):
            logarithms = logarithms - _logsumexp_of_columns(logarithms)
            logarithms = logarithms - logarithms.logsumexp(dim=1, keepdim=True)
        return logarithms.exp()


def _logsumexp_of_columns(x: Tensor) -> Tensor:
    """(n, k) -> (1, k), over the rows of all ranks."""
    largest = x.amax(dim=0, keepdim=True)
    _all_reduce(largest, dist.ReduceOp.MAX)
    total = (x - largest).exp().sum(dim=0, keepdim=True)
    _all_reduce(total, dist.ReduceOp.SUM)
    return largest + total.log()


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _all_reduce(x: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    if _distributed():
        dist.all_reduce(x, operation)


def swav_loss(
    scores: Sequence[Tensor],
    assigned: Sequence[int] = (0, 1),
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    queue: Sequence[Tensor] | None = None,
) -> Tensor:
    """Predict the assignment of one view from every other (SwAV Eqs. 1-3; `main_swav.py`).

        loss = mean over a in assigned, mean over v != a, of
               - mean_i sum_k Q_ik(scores_a) log softmax_k(scores_v,i / temperature)

    Args:
        scores: one (n, prototypes) per view: L2-normalised embeddings times L2-normalised
            prototypes. Full-resolution views first.
        assigned: the views whose Sinkhorn assignments are targets (official: the two full ones).
        temperature: of the softmax; 0.1.
        epsilon: of Sinkhorn; 0.05.
        iterations: of Sinkhorn; 3.
        queue: further (rows, prototypes) scores per assigned view, which take part in its
            Sinkhorn iterations and nowhere else.

    Returns:
        A scalar, in float32 at least; under torch.distributed the mean over the rows of all
        ranks. Gradient flows through the predictions only.

    Raises:
        E2MCError: fewer than two views, or an assigned view that does not exist.
    """
    if len(scores) < 2 or not all(0 <= view < len(scores) for view in assigned):
        raise E2MCError(
            f"SwAV predicts assignments of views {tuple(assigned)} from other views and got "
            f"{len(scores)}"
        )
    with torch.autocast(scores[0].device.type, enabled=False):
        scores = [at_least_float32(view) for view in scores]
        logarithms = [(view / temperature).log_softmax(dim=1) for view in scores]
        # sum over the other views of one product: all views less the assigned one
        everything = torch.stack(logarithms).sum(dim=0)
        losses = []
        for position, view in enumerate(assigned):
            joined = scores[view].detach()
            if queue is not None:
                joined = torch.cat([queue[position].to(joined), joined])
            targets = sinkhorn(joined, epsilon, iterations)[-len(scores[view]) :]
            others = (everything - logarithms[view]) / (len(scores) - 1)
            losses.append(-(targets * others).sum(dim=1))
        return global_mean(torch.stack(losses).mean(dim=0))


def swav_projector(inputs: int, widths: tuple[int, int]) -> nn.Sequential:
    """Two linear layers, BatchNorm and ReLU between them (official `projection_head`)."""
    hidden, outputs = widths
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs),
    )


class SwAV(Method):
    """A trunk, a projection head, prototypes, and optionally a queue of past embeddings.

    The queue holds the last `queue_length` normalised embeddings of each assigned view over all
    ranks, newest first, and joins Sinkhorn once its last row is filled. Every rank holds the
    whole queue and scores its share, so that it is part of the state dict like any buffer and a
    run can resume; the official code keeps a part per rank, in a file beside the checkpoint.
    Results do not depend on the order or place of the rows.
    """

    layout = Layout(
        {
            "backbone.": "module.",
            "projector.": "module.projection_head.",
            "prototypes.": "module.prototypes.",
        }
    )
    zero_init_residual = False
    prototypes: nn.Linear
    queue: Tensor | None
    frozen = False
    queueing = True
    queue_is_full = False

    def __init__(self, recipe: recipes.SwAV, backbone: Backbone) -> None:
        super().__init__(recipe, backbone)
        self.projector = swav_projector(backbone.feature_dimension, recipe.projector)
        self.prototypes = nn.Linear(recipe.projector[-1], recipe.prototypes, bias=False)
        self.full_views = recipe.views.full_views
        self.temperature = recipe.temperature
        self.epsilon = recipe.epsilon
        self.iterations = recipe.sinkhorn_iterations
        shape = (self.full_views, recipe.queue_length, recipe.projector[-1])
        self.register_buffer("queue", torch.zeros(shape) if recipe.queue_length else None)

    def uninformed_loss(self, images: int) -> float:
        """Of equal scores for all prototypes: the logarithm of their number, 8.006 of 3,000."""
        return math.log(self.prototypes.out_features)

    def before_step(self, step: int, epoch: int, training: Training) -> None:
        """The queue and the prototypes may wait (official `--epoch_queue_starts` and
        `--freeze_prototypes_niters`).
        """
        self.frozen = step < training.freeze_prototypes_steps
        self.queueing = epoch >= training.queue_start_epoch

    def after_backward(self) -> None:
        """Frozen prototypes have no gradient: the optimizer passes over them, decay included."""
        if self.frozen:
            self.prototypes.weight.grad = None

    def forward(self, views: list[Tensor]) -> Step:
        """The loss; criteria see the head's output of all views before its L2 normalisation.

        The trunk runs once per resolution (separate BN statistics), the head once on all views.
        """
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
        groups = [list(group) for _, group in groupby(views, key=lambda view: view.shape[-2:])]
        features = torch.cat([self.backbone(torch.cat(group)) for group in groups])
        embeddings: Tensor = self.projector(features)
        unit = F.normalize(at_least_float32(embeddings), dim=1)
        scores: Tensor = self.prototypes(unit)
        loss = swav_loss(
            list(scores.chunk(len(views))),
            tuple(range(self.full_views)),
            self.temperature,
            self.epsilon,
            self.iterations,
            self._queue_scores(),
        )
        if self.training and self.queue is not None and self.queueing:
            _enqueue(self.queue, list(unit.chunk(len(views))))
        return Step(loss, list(embeddings.chunk(len(views))), {"swav_loss": loss.detach()})

    @torch.no_grad()
    def _queue_scores(self) -> list[Tensor] | None:
        """This rank's share of the queue times the prototypes; None until the queue is full."""
        if self.queue is None:
            return None
        # a full queue stays full: a GPU is asked, and waited for, until then only
        self.queue_is_full = self.queue_is_full or bool(self.queue[:, -1].any())
        if not self.queue_is_full:
            return None
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if _distributed() else (0, 1)
        with torch.autocast(self.queue.device.type, enabled=False):
            return [rows[rank::ranks] @ self.prototypes.weight.t() for rows in self.queue]


@torch.no_grad()
def _enqueue(queue: Tensor, views: list[Tensor]) -> None:
    """Prepend all ranks' rows of the assigned views, drop the oldest."""
    sizes = rows_per_rank(views[0])
    for held, newest in zip(queue, views, strict=False):
        held.copy_(torch.cat([gather_rows(newest, sizes).to(held), held])[: len(held)])
