"""Mutual information against Gaussian closed forms and the plain determinants."""

import pytest
import torch
from torch import Tensor

from e2mc.criteria import MutualInformation


def gaussian_pair(n: int, correlations: list[float]) -> list[Tensor]:
    rho = torch.tensor(correlations, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    a, noise = torch.randn(2, n, len(rho), dtype=torch.float64, generator=generator)
    return [a, rho * a + (1 - rho**2).sqrt() * noise]


def plain(a: Tensor, b: Tensor, ridge: float) -> Tensor:
    joint = torch.cov(torch.cat([a, b], dim=1).T)
    joint = joint + ridge * joint.diagonal().mean() * torch.eye(len(joint))
    d = a.shape[1]
    return (joint[:d, :d].logdet() + joint[d:, d:].logdet() - joint.logdet()) / 2


@pytest.mark.parametrize(("n", "d"), [(50, 3), (50, 30), (10, 30), (2, 1)])
def test_exact_form_equals_the_plain_determinants(n: int, d: int) -> None:
    a = torch.randn(n, d, dtype=torch.float64, requires_grad=True)
    b = (a + torch.randn(n, d)).detach().requires_grad_()
    expected = plain(a, b, 1e-3)
    value = MutualInformation().terms([a, b])["mutual_information"]
    torch.testing.assert_close(value, expected)
    for one, other in zip(
        torch.autograd.grad(value, [a, b]), torch.autograd.grad(expected, [a, b]), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_gaussian_closed_form_and_invariance() -> None:
    correlations = [0.9, 0.5, 0.0]
    a, b = gaussian_pair(20000, correlations)
    expected = -0.5 * sum(float(torch.log1p(torch.tensor(-(r**2)))) for r in correlations)
    criterion = MutualInformation(ridge=1e-9)
    assert -float(criterion([a, b])) == pytest.approx(expected, abs=0.03)
    mixing = torch.randn(3, 3, dtype=torch.float64)
    torch.testing.assert_close(
        criterion([a @ mixing, 7 * b + 1]), criterion([a, b]), rtol=1e-4, atol=0
    )
    ridged = MutualInformation(ridge=0.1)
    torch.testing.assert_close(ridged([100 * a, 100 * b]), ridged([b, a]))


@pytest.mark.parametrize(("n", "d"), [(60, 4), (6, 9), (12, 9)])
def test_series_tends_to_the_exact_form(n: int, d: int) -> None:
    views = [torch.randn(n, d, dtype=torch.float64) for _ in range(2)]
    exact = MutualInformation(ridge=0.5)(views)
    series = MutualInformation(form="series", order=300, ridge=0.5)(views)
    torch.testing.assert_close(series, exact, rtol=1e-3, atol=1e-3)


def plain_series(a: Tensor, b: Tensor, ridge: float, order: int) -> Tensor:
    """The truncated determinants written out on d x d and 2d x 2d matrices."""
    d = a.shape[1]
    joint = torch.cov(torch.cat([a, b], dim=1).T)
    joint = joint + ridge * joint.diagonal().mean() * torch.eye(2 * d)
    scale = 1 / torch.linalg.eigvalsh(joint.detach())[-1]
    total = torch.zeros((), dtype=a.dtype)
    for sign, matrix in ((1, joint[:d, :d]), (1, joint[d:, d:]), (-1, joint)):
        shifted = scale * matrix - torch.eye(len(matrix))
        for k in range(1, order + 1):
            trace = torch.linalg.matrix_power(shifted, k).trace()
            total = total - sign * (-1) ** k / k * trace
    return total / 2


@pytest.mark.parametrize(("n", "d"), [(60, 4), (6, 9), (12, 9)])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_series_equals_the_plain_series(n: int, d: int, order: int) -> None:
    a, b = (torch.randn(n, d, dtype=torch.float64, requires_grad=True) for _ in range(2))
    expected = plain_series(a, b, 1e-2, order)
    criterion = MutualInformation(form="series", order=order, ridge=1e-2)
    value = criterion.terms([a, b])["mutual_information"]
    torch.testing.assert_close(value, expected)
    for one, other in zip(
        torch.autograd.grad(value, [a, b]), torch.autograd.grad(expected, [a, b]), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_second_order_is_the_squared_cross_covariance() -> None:
    a, b = torch.randn(2, 60, 4, dtype=torch.float64)
    joint = torch.cov(torch.cat([a, b], dim=1).T)
    scale = 1 / torch.linalg.eigvalsh(joint)[-1]
    value = MutualInformation(form="series", order=2, ridge=1e-9)([a, b])
    torch.testing.assert_close(-value, scale**2 / 2 * joint[:4, 4:].square().sum())


def test_series_resumes_exactly() -> None:
    criterion = MutualInformation(form="series")
    for scale in (1.0, 3.0):
        criterion([scale * view for view in gaussian_pair(20, [0.5, 0.1])])
    resumed = MutualInformation(form="series")
    resumed.load_state_dict(criterion.state_dict())
    views = gaussian_pair(30, [0.9, 0.1])
    assert torch.equal(resumed(views), criterion(views))
    assert not torch.equal(MutualInformation(form="series")(views), criterion(views))


def test_three_views_average_their_pairs() -> None:
    criterion = MutualInformation()
    a, b, c = torch.randn(3, 20, 4, dtype=torch.float64)
    pairs = torch.stack([criterion([a, b]), criterion([a, c]), criterion([b, c])])
    torch.testing.assert_close(criterion([a, b, c]), pairs.mean())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "weight"),
        ({"form": "taylor"}, "series"),
        ({"form": "series", "order": 1}, "order"),
        ({"ridge": 0.0}, "ridge"),
        ({"forgetting": -0.1}, "forgetting"),
    ],
)
def test_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MutualInformation(**arguments)  # type: ignore[arg-type]
