"""Suggested weights: what they promise, and that training as in other libraries survives them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2mc.criteria import E2MC, CorInfoMax, Criterion, KoLeo, SIGReg, VCReg, suggest_weights
from e2mc.criteria.e2mc import Space


def embed(n: int = 32, d: int = 8) -> tuple[Tensor, list[Tensor]]:
    """A base loss and the two views that it was computed from."""
    views = [torch.randn(n, d, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    return F.mse_loss(*views), views


def norm(loss: Tensor, views: list[Tensor]) -> float:
    gradients = torch.autograd.grad(loss, views, retain_graph=True)
    return float(torch.cat(gradients).norm())


@pytest.mark.parametrize("criterion", [E2MC("hypercube", 1.0, 7.0), VCReg(), SIGReg(slices=8)])
def test_the_criterion_pulls_with_its_share(criterion: Criterion) -> None:
    base, views = embed()
    criterion.eval()  # the same slices twice
    before = criterion.weights
    criterion.weights = suggest_weights(base, views, criterion, share=0.4)
    assert norm(criterion(views), views) == pytest.approx(0.4 * norm(base, views))
    factors = [criterion.weights[name] / weight for name, weight in before.items()]
    assert factors == pytest.approx([factors[0]] * len(factors)), "the ratio is kept"
    assert factors[0] > 0, "and the signs"
    base.backward()  # the graph is still there


def test_the_default_is_e2mc_on_the_hypersphere() -> None:
    base, views = embed()
    expected = suggest_weights(base, views, E2MC("hypersphere", 5.0, 5.0 * 25 * 128 / 8))
    assert suggest_weights(base, views) == pytest.approx(expected)


def test_measuring_leaves_the_criterion_as_it_was() -> None:
    base, views = embed()
    criterion = CorInfoMax()
    suggest_weights(base, views, criterion)
    assert criterion.training
    assert criterion.covariance.past is None


@pytest.mark.parametrize("criterion", [KoLeo(), VCReg()])
def test_half_precision_is_measured_as_single(criterion: Criterion) -> None:
    """Gradients of a mean over 512 rows of 2048 columns are below what float16 resolves."""
    exact = [torch.randn(512, 2048, requires_grad=True) for _ in range(2)]
    half = [view.detach().half().requires_grad_() for view in exact]
    expected = suggest_weights(F.mse_loss(*exact), exact, criterion)
    assert suggest_weights(F.mse_loss(*half), half, criterion) == pytest.approx(expected, rel=0.02)


def test_a_teacher_is_seen_and_not_pulled_at() -> None:
    student, teacher = embed()[1]
    teacher = teacher.detach()
    criterion = KoLeo()
    criterion.weights = suggest_weights(F.mse_loss(student, teacher), [student, teacher], criterion)
    own = norm(criterion([student, teacher]), [student])
    assert own == pytest.approx(0.1 * norm(F.mse_loss(student, teacher), [student]))


def test_mistakes_are_explained() -> None:
    base, views = embed()
    copies = [view.detach().requires_grad_() for view in views]
    for arguments, message in (
        ((base.detach(), views), "scalar with gradient"),
        ((base * torch.ones(2), views), "scalar with gradient"),
        ((base, [view.detach() for view in views]), "detached copy"),
        ((base * torch.inf, views), "not finite: norm (inf|nan) of base_loss"),
        ((base, copies), "the very tensors"),
        ((base, views, E2MC("hypercube", 0.0, 0.0)), "all weights 0"),
        ((base, views, None, 0.0), "share"),
    ):
        with pytest.raises(ValueError, match=message):
            suggest_weights(*arguments)  # type: ignore[arg-type]


def vicreg_of_lightly(a: Tensor, b: Tensor) -> Tensor:
    """lightly's VICRegLoss with its default weights, re-typed."""

    def variance(x: Tensor) -> Tensor:
        return F.relu(1.0 - (x.var(dim=0) + 1e-4).sqrt()).mean()

    def covariance(x: Tensor) -> Tensor:
        x = x - x.mean(dim=0)
        c = x.T @ x / (len(x) - 1)
        return (c - c.diagonal().diag()).pow(2).sum() / x.shape[1]

    return (
        25 * F.mse_loss(a, b)
        + 25 * 0.5 * (variance(a) + variance(b))
        + covariance(a)
        + covariance(b)
    )


class Networks(nn.Module):
    """A small encoder with the projector and predictor of both libraries' examples."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            nn.Linear(20, d), nn.BatchNorm1d(d), nn.ReLU(), nn.Linear(d, d)
        )
        self.predictor = nn.Sequential(
            nn.Linear(d, d // 4), nn.BatchNorm1d(d // 4), nn.ReLU(), nn.Linear(d // 4, d)
        )


def vicreg(networks: Networks, a: Tensor, b: Tensor) -> tuple[Tensor, list[Tensor]]:
    views = [networks.projector(x) for x in (a, b)]
    return vicreg_of_lightly(*views), views


def simsiam(networks: Networks, a: Tensor, b: Tensor) -> tuple[Tensor, list[Tensor]]:
    """solo-learn's loop, where embeddings are detached inside the loss only."""
    views = [networks.projector(x) for x in (a, b)]
    p_a, p_b = (networks.predictor(z) for z in views)
    similarity = F.cosine_similarity(p_a, views[1].detach()).mean()
    similarity = similarity + F.cosine_similarity(p_b, views[0].detach()).mean()
    return -similarity / 2, views


Objective = Callable[[Networks, Tensor, Tensor], tuple[Tensor, list[Tensor]]]


def train(
    objective: Objective,
    learning_rate: float,
    space: Space,
    criterion: Criterion | None,
    suggested: bool = True,
) -> tuple[float, float]:
    """Base loss and entropy at the end, means over the last ten steps, both libraries' SGD."""
    torch.manual_seed(0)
    networks = Networks(256)
    optimizer = torch.optim.SGD(networks.parameters(), learning_rate, 0.9, weight_decay=1e-4)
    centres = torch.randn(6, 20)
    history = []
    for step in range(40):
        images = centres[torch.randint(6, (64,))] + 0.5 * torch.randn(64, 20)
        base, views = objective(networks, *(images + 0.3 * torch.randn(2, 64, 20)))
        if criterion is not None and suggested and step == 0:
            criterion.weights = suggest_weights(base, views, criterion)
        loss = base if criterion is None else base + criterion(views)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        with torch.no_grad():
            entropy = E2MC(space, 1.0, 1.0).terms(views)["entropy"]
        history.append((base.item(), entropy.item()))
    last = torch.tensor(history[-10:]).mean(dim=0)
    return float(last[0]), float(last[1])


@pytest.mark.parametrize(
    ("objective", "learning_rate", "space"),
    [(vicreg, 0.06, "hypercube"), (simsiam, 0.5, "hypersphere")],
)
def test_from_scratch_the_suggestion_leaves_the_base_loss_in_charge(
    objective: Objective, learning_rate: float, space: Space
) -> None:
    alone, before = train(objective, learning_rate, space, None)
    criterion = E2MC(space, 1.0, "auto")
    together, raised = train(objective, learning_rate, space, criterion)
    assert abs(together - alone) < 0.15 * abs(alone)
    # SimSiam's embeddings are still collapsing then, with or without a criterion
    assert raised > before or objective is simsiam


def test_from_scratch_published_weights_diverge_in_the_same_loop() -> None:
    """So that the test above can fail: VICReg's weights, the covariance scaled to the width."""
    with pytest.raises(ValueError, match="diverged"):
        train(vicreg, 0.06, "hypercube", E2MC("hypercube", 1000.0, "auto"), suggested=False)
