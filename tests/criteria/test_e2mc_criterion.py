"""E2MC as a whole: against Algorithm 1 and the official convention, and what it does."""

import math

import pytest
import torch
from torch import Tensor

from e2mc.criteria import E2MC, covariance_penalty, marginal_entropy, to_unit_cube
from e2mc.reporting.marginals import unit_cube
from tests.criteria.test_covariance import algorithm_1_covariance
from tests.criteria.test_spacings import algorithm_1_entropy


def algorithm_1(views: list[Tensor], space: str, beta: float, gamma: float) -> Tensor:
    loss = torch.zeros((), dtype=views[0].dtype)
    for z in views:
        u = torch.sigmoid(z) if space == "hypercube" else 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        loss = loss - beta * algorithm_1_entropy(u).mean() + gamma * algorithm_1_covariance(u)
    return loss


@pytest.mark.parametrize("space", ["hypercube", "hypersphere"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_sum_over_views_is_algorithm_1(space: str, count: int) -> None:
    views = [torch.randn(40, 90, dtype=torch.float64, requires_grad=True) for _ in range(count)]
    criterion = E2MC(space, 1000.0, 100.0, entropy_over_views="sum")  # type: ignore[arg-type]
    expected = algorithm_1(views, space, 1000.0, 100.0)
    actual = criterion(views)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)
    for one, other in zip(
        torch.autograd.grad(actual, views), torch.autograd.grad(expected, views), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


def test_mean_over_views_is_the_official_code() -> None:
    """The scripts compute ent_a/2 + ent_b/2 and cov_a + cov_b: beta counts half."""
    views = [torch.randn(40, 9, dtype=torch.float64) for _ in range(2)]
    expected = algorithm_1(views, "hypersphere", 0.5, 25.0)
    torch.testing.assert_close(E2MC("hypersphere", 1.0, 25.0)(views), expected)


@pytest.mark.parametrize(
    ("space", "entropy", "d", "covariance"),
    [
        ("hypercube", 1000.0, 8192, 100.0),
        ("hypercube", 1000.0, 512, 1600.0),
        ("hypersphere", 1.0, 128, 25.0),
        ("hypersphere", 0.5, 32, 50.0),
    ],
)
def test_the_covariance_weight_follows_the_width(
    space: str, entropy: float, d: int, covariance: float
) -> None:
    views = [torch.randn(6, d)]
    automatic = E2MC(space, entropy, "auto")  # type: ignore[arg-type]
    explicit = E2MC(space, entropy, covariance)  # type: ignore[arg-type]
    assert torch.equal(automatic(views), explicit(views))
    assert automatic.weights == pytest.approx(explicit.weights)


def test_terms_and_weigh_make_forward() -> None:
    criterion = E2MC("hypercube", 3.0, 5.0)
    views = [torch.randn(20, 4), torch.randn(20, 4)]
    terms = criterion.terms(views)
    assert list(terms) == ["entropy", "covariance"]
    torch.testing.assert_close(criterion(views), -3 * terms["entropy"] + 5 * terms["covariance"])
    assert torch.equal(criterion.weigh(terms), criterion(views))


def test_invariances() -> None:
    criterion = E2MC("hypersphere", 1.0, 25.0)
    a, b = torch.randn(2, 50, 30, dtype=torch.float64)
    expected = criterion([a, b])
    rows, columns = torch.randperm(50), torch.randperm(30)
    torch.testing.assert_close(criterion([b, a]), expected)
    torch.testing.assert_close(criterion([a[rows], b]), expected)
    torch.testing.assert_close(criterion([a[:, columns], b]), expected)


def test_gaussian_embeddings_are_uniform_through_the_distribution_function() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(512, 2000, generator=generator)
    uniform = marginal_entropy(torch.rand(512, 2000, generator=generator)).mean()
    entropy = marginal_entropy(to_unit_cube(z, "hypersphere")).mean()
    assert float(entropy) == pytest.approx(float(uniform), abs=0.002)
    assert float(marginal_entropy(to_unit_cube(z, "hypercube")).mean()) < -0.2


def test_logistic_embeddings_are_uniform_through_the_sigmoid() -> None:
    u = torch.rand(512, 50, dtype=torch.float64)
    torch.testing.assert_close(to_unit_cube(torch.logit(u), "hypercube"), u)


def joint_entropy(u: Tensor, bins: int = 16) -> float:
    cells = (u * bins).long().clamp(max=bins - 1)
    shares = torch.bincount(cells[:, 0] * bins + cells[:, 1], minlength=bins**2) / len(u)
    return float(torch.special.entr(shares).sum()) - 2 * math.log(bins)


def test_the_x_of_figure_2b_deceives_the_criterion() -> None:
    """Uniform marginals and no covariance, yet nearly all of the joint entropy gone."""
    generator = torch.Generator().manual_seed(0)
    square = torch.rand(4096, 2, dtype=torch.float64, generator=generator)
    sign = torch.rand(4096, generator=generator) < 0.5
    x = square.clone()
    x[:, 1] = torch.where(sign, x[:, 0], 1 - x[:, 0])
    criterion = E2MC("hypercube", 1.0, 25.0)
    values = [float(criterion([torch.logit(u)])) for u in (square, x)]
    assert values[0] == pytest.approx(values[1], abs=0.01)
    assert joint_entropy(square) == pytest.approx(0, abs=0.1)
    assert joint_entropy(x) < -1.5


@pytest.mark.parametrize("space", ["hypercube", "hypersphere"])
def test_alone_it_makes_free_embeddings_uniform_and_uncorrelated(space: str) -> None:
    """Tolerances: quantiles within m/n = 1/16 of uniform, mean |correlation| below 0.01.

    m/n is the resolution of the estimate: spacings of order m cannot tell apart a uniform column
    and one whose points clump within m ranks.
    """
    z = (torch.randn(256, 8) @ torch.randn(8, 8)).mul_(0.5).requires_grad_()
    uniform = ((torch.arange(256) + 0.5) / 256)[:, None]

    def distance() -> float:
        u = to_unit_cube(z.detach(), space)  # type: ignore[arg-type]
        return float((u.sort(dim=0).values - uniform).abs().max())

    assert distance() > 0.15
    criterion = E2MC(space, 1.0, 100.0)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        criterion([z]).backward()
        optimizer.step()
    assert distance() < 1 / 16
    u = to_unit_cube(z.detach(), space)  # type: ignore[arg-type]
    assert torch.corrcoef(u.T).fill_diagonal_(0).abs().mean() < 0.01
    assert covariance_penalty(u) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "cube"}, "hypercube"),
        ({"entropy_weight": -1.0}, "entropy_weight"),
        ({"covariance_weight": -1.0}, "covariance_weight"),
        ({"entropy_weight": 0.0, "covariance_weight": "auto"}, "entropy_weight above 0"),
        ({"entropy_over_views": "max"}, "entropy_over_views"),
        ({"spacing": 0}, "spacing"),
        ({"epsilon": 0.0}, "epsilon"),
    ],
)
def test_refuses(arguments: dict[str, object], message: str) -> None:
    good = {"space": "hypercube", "entropy_weight": 1.0, "covariance_weight": 1.0}
    with pytest.raises(ValueError, match=message):
        E2MC(**{**good, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("space", ["hypercube", "hypersphere"])
def test_figures_draw_the_criterion_s_cube(space: str) -> None:
    """Reporting knows no torch, so it states the transform a second time."""
    embeddings = torch.linspace(-6, 6, 200, dtype=torch.float64).view(-1, 4)
    drawn = torch.from_numpy(unit_cube(embeddings.numpy(), space))
    torch.testing.assert_close(drawn, to_unit_cube(embeddings, space), rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("space", ["hypercube", "hypersphere"])
def test_the_parts_by_themselves_are_exact_in_half_precision(
    space: str, dtype: torch.dtype
) -> None:
    half = torch.randn(512, 16).to(dtype).requires_grad_()
    exact = half.detach().float().requires_grad_()
    for z in (half, exact):
        marginal_entropy(to_unit_cube(z, space)).mean().backward()  # type: ignore[arg-type]
    assert half.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(half.grad, exact.grad.to(dtype))


def test_unknown_space_is_named() -> None:
    with pytest.raises(ValueError, match="'sphere'"):
        to_unit_cube(torch.zeros(2, 2), "sphere")  # type: ignore[arg-type]
