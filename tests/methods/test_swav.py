from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone
from e2mc.errors import E2MCError
from e2mc.methods import build_method
from e2mc.methods.swav import SwAV, sinkhorn, swav_loss
from e2mc.training.optim import build_optimizer

SMALL = Backbone(layers=(1, 1, 1, 1), width=4, stem="cifar")
RECIPE = recipes.SwAV(projector=(12, 8), prototypes=10, queue_length=0)


def official_sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """`distributed_sinkhorn` for one process, re-typed."""
    q = torch.exp(scores / epsilon).t()
    q = q / q.sum()
    prototypes, rows = q.shape
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / prototypes
        q = q / q.sum(dim=0, keepdim=True) / rows
    return (q * rows).t()


def official_loss(
    scores: Sequence[Tensor],
    assigned: Sequence[int] = (0, 1),
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    queue: Sequence[Tensor] | None = None,
) -> Tensor:
    """The loss part of `main_swav.py`'s train(), re-typed."""
    loss = torch.zeros((), dtype=scores[0].dtype)
    for position, view in enumerate(assigned):
        out = scores[view].detach()
        if queue is not None:
            out = torch.cat([queue[position], out])
        q = official_sinkhorn(out, epsilon, iterations)[-len(scores[view]) :]
        part = torch.zeros((), dtype=scores[0].dtype)
        for other in range(len(scores)):
            if other != view:
                p = torch.softmax(scores[other] / temperature, dim=1)
                part = part - (q * torch.log(p)).sum(dim=1).mean()
        loss = loss + part / (len(scores) - 1)
    return loss / len(assigned)


def random_scores(views: int, n: int = 12, prototypes: int = 7) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        (2 * torch.rand(n, prototypes, dtype=torch.float64, generator=generator) - 1)
        .mul(0.6)
        .requires_grad_()
        for _ in range(views)
    ]


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_sinkhorn_is_the_official_one(epsilon: float, iterations: int) -> None:
    (scores,) = random_scores(1)
    ours = sinkhorn(scores, epsilon, iterations)
    torch.testing.assert_close(ours, official_sinkhorn(scores.detach(), epsilon, iterations))
    assert not ours.requires_grad


def test_sinkhorn_balances_rows_and_columns() -> None:
    (scores,) = random_scores(1, n=20, prototypes=5)
    q = sinkhorn(scores, 0.2, 200)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(20, dtype=q.dtype))
    torch.testing.assert_close(q.sum(dim=0), torch.full((5,), 4.0, dtype=q.dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sinkhorn_cannot_overflow(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (1e4 * (2 * torch.rand(16, 6, generator=generator) - 1)).to(dtype)
    assert not torch.exp(scores.float() / 0.05).isfinite().all()  # what the plain version does
    q = sinkhorn(scores)
    assert q.dtype == torch.float32 and q.isfinite().all()
    torch.testing.assert_close(q.sum(dim=1), torch.ones(16))
    loss = swav_loss([scores.requires_grad_(), -scores])
    assert loss.isfinite() and torch.autograd.grad(loss, scores)[0].isfinite().all()


def test_float32_agrees_with_the_plain_version_where_that_needs_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 32 * torch.rand(9, 4, generator=generator) - 16
    plain = official_sinkhorn(scores.double(), 0.05, 3)
    torch.testing.assert_close(sinkhorn(scores).double(), plain, rtol=1e-3, atol=1e-5)
    assert not official_sinkhorn(scores, 0.05, 3).isfinite().all()


def test_equal_scores_are_shared_equally() -> None:
    torch.testing.assert_close(sinkhorn(torch.zeros(6, 4)), torch.full((6, 4), 0.25))
    torch.testing.assert_close(sinkhorn(torch.zeros(1, 4)), torch.full((1, 4), 0.25))


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 3, 4)])
def test_sinkhorn_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(E2MCError, match=r"scores \(n, prototypes\)"):
        sinkhorn(torch.zeros(shape))


@pytest.mark.parametrize("views", [2, 8])
@pytest.mark.parametrize("assigned", [(0, 1), (1,)])
@pytest.mark.parametrize("queued", [False, True])
def test_is_the_official_loss_in_value_and_gradient(
    views: int, assigned: tuple[int, ...], queued: bool
) -> None:
    scores = random_scores(views)
    queue = [x.detach() / 2 for x in random_scores(2, n=20)][: len(assigned)] if queued else None
    ours = swav_loss(scores, assigned, queue=queue)
    theirs = official_loss(scores, assigned, queue=queue)
    torch.testing.assert_close(ours, theirs)
    mine = torch.autograd.grad(ours, scores, allow_unused=True)
    official = torch.autograd.grad(theirs, scores, allow_unused=True)
    for a, b, score in zip(mine, official, scores, strict=True):
        zero = torch.zeros_like(score)
        torch.testing.assert_close(zero if a is None else a, zero if b is None else b)


def test_temperature_epsilon_and_iterations_are_used() -> None:
    scores = random_scores(3)
    torch.testing.assert_close(
        swav_loss(scores, (0, 1), 0.3, 0.4, 1), official_loss(scores, (0, 1), 0.3, 0.4, 1)
    )


def test_zero_scores_give_the_entropy_of_the_prototypes() -> None:
    scores = [torch.zeros(5, 7, requires_grad=True) for _ in range(2)]
    loss = swav_loss(scores)
    torch.testing.assert_close(loss, torch.tensor(7.0).log())
    assert torch.autograd.grad(loss, scores[0])[0].isfinite().all()


def test_half_precision_is_computed_in_float32_even_under_autocast() -> None:
    scores = [view.detach().bfloat16() for view in random_scores(3)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = swav_loss(scores)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, official_loss([view.float() for view in scores]))


def test_impossible_views_are_refused() -> None:
    scores = random_scores(2)
    for arguments in ([scores[:1], (0,)], [scores, (0, 2)]):
        with pytest.raises(E2MCError, match="from other views and got"):
            swav_loss(*arguments)


def multi_crop(n: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    sizes = [16] * 2 + [8] * 6
    return [torch.randn(n, 3, s, s, generator=generator) + s / 8 for s in sizes]


def test_step_runs_the_trunk_per_resolution_and_the_head_once() -> None:
    torch.manual_seed(0)
    module = build_method(RECIPE, SMALL)
    module.prototypes.weight.data *= 3
    views = multi_crop()
    step = module(views)
    torch.testing.assert_close(module.prototypes.weight.norm(dim=1), torch.ones(10))
    features = [module.backbone(torch.cat(views[:2])), module.backbone(torch.cat(views[2:]))]
    embeddings = module.projector(torch.cat(features))
    assert len(step.embeddings) == 8 and module.full_views == 2
    torch.testing.assert_close(torch.cat(step.embeddings), embeddings)
    assert not torch.allclose(embeddings.norm(dim=1), torch.ones(48))  # before the L2 norm
    scores = F.normalize(embeddings, dim=1) @ module.prototypes.weight.t()
    torch.testing.assert_close(step.loss, official_loss(scores.split(6)))
    step.loss.backward()
    assert all(p.grad is not None for p in module.parameters())


def linear_swav(queue_length: int) -> SwAV:
    """A SwAV whose trunk and head are one linear layer, so that the queue can be followed."""
    module = SwAV(RECIPE.model_copy(update={"queue_length": queue_length}), SMALL)
    module.backbone = nn.Flatten()  # type: ignore[assignment]
    module.projector = nn.Linear(12, 8)
    return module


def test_queue_joins_when_full_newest_rows_first() -> None:
    torch.manual_seed(0)
    module = linear_swav(queue_length=10)
    history: list[list[Tensor]] = [[], []]
    for step in range(5):
        views = [torch.randn(4, 3, 2, 2) for _ in range(3)]
        result = module(views)
        with torch.no_grad():
            unit = [F.normalize(z, dim=1) for z in result.embeddings]
            prototypes = module.prototypes.weight
            held = [torch.cat(rows[::-1])[:10] if rows else torch.zeros(0, 8) for rows in history]
            full = len(held[0]) == 10
            queue = [rows @ prototypes.t() for rows in held] if full else None
            expected = official_loss([z @ prototypes.t() for z in unit], queue=queue)
        assert full == (step >= 3)
        torch.testing.assert_close(result.loss, expected)
        for view in range(2):
            history[view].append(unit[view])
    for view in range(2):
        torch.testing.assert_close(module.queue[view], torch.cat(history[view][::-1])[:10])


def test_queue_is_left_alone_in_evaluation_and_saved_with_the_model() -> None:
    torch.manual_seed(0)
    module = linear_swav(queue_length=6)
    module([torch.randn(4, 3, 2, 2) for _ in range(2)])
    before = module.queue.clone()
    assert before.any()
    module.eval()([torch.randn(4, 3, 2, 2) for _ in range(2)])
    assert torch.equal(module.queue, before)
    assert torch.equal(module.state_dict()["queue"], before)
    assert "queue" not in build_method(RECIPE, SMALL).state_dict()


def test_a_batch_longer_than_the_queue_fills_it_at_once() -> None:
    torch.manual_seed(0)
    module = linear_swav(queue_length=3)
    step = module([torch.randn(4, 3, 2, 2) for _ in range(2)])
    expected = F.normalize(step.embeddings[0].detach(), dim=1)[:3]
    torch.testing.assert_close(module.queue[0], expected)


def test_frozen_prototypes_are_passed_over_as_the_official_loop_does() -> None:
    """`p.grad = None` after the backward pass: no update, no decay, no momentum."""
    torch.manual_seed(0)
    module = linear_swav(queue_length=0)
    schedule = recipes.Training(learning_rate=0.5, freeze_prototypes_steps=2)
    optimizer = build_optimizer(
        module.parameter_groups(schedule),
        recipes.Optimizer(rule="larc", weight_decay=0.1),
        schedule.learning_rate,
    )
    module([torch.randn(6, 3, 2, 2) for _ in range(2)])  # normalises them once
    first = module.prototypes.weight.detach().clone()
    head = module.projector.weight.detach().clone()
    for step in range(3):
        module.before_step(step, 0, schedule)
        module([torch.randn(6, 3, 2, 2) for _ in range(2)]).loss.backward()
        module.after_backward()
        optimizer.step()
        optimizer.zero_grad()
        moved = not torch.allclose(module.prototypes.weight, first, atol=1e-6)
        assert moved == (step == 2)
        assert (module.prototypes.weight in optimizer.state) == moved
    assert not torch.allclose(module.projector.weight, head)


def test_the_queue_waits_for_its_epoch() -> None:
    torch.manual_seed(0)
    module, without = linear_swav(queue_length=4), linear_swav(queue_length=0)
    without.load_state_dict({k: v for k, v in module.state_dict().items() if k != "queue"})
    schedule = recipes.Training(learning_rate=0.5, queue_start_epoch=1)
    views = [torch.randn(4, 3, 2, 2) for _ in range(2)]
    for step in range(2):
        module.before_step(step, 0, schedule)
        torch.testing.assert_close(module(views).loss, without(views).loss)
        assert not module.queue.any()
    module.before_step(2, 1, schedule)
    module(views)
    assert module.queue.any()
