"""The covariance penalty against the plain formula, its expectation, and float64."""

import pytest
import torch
from torch import Tensor

from e2mc.criteria import covariance_penalty
from e2mc.criteria.covariance import _direct_form, _gram_form


def algorithm_1_covariance(u: Tensor) -> Tensor:
    n, d = u.shape
    centred = u - u.mean(dim=0)
    covariance = centred.T @ centred / (n - 1)
    return (covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()) / d


@pytest.mark.parametrize(("n", "d"), [(2, 1), (2, 2), (2, 9), (8, 13), (8, 14), (8, 200), (64, 9)])
def test_equals_algorithm_1_in_value_and_gradient(n: int, d: int) -> None:
    u = torch.rand(n, d, dtype=torch.float64, requires_grad=True)
    expected = algorithm_1_covariance(u)
    (expected_gradient,) = torch.autograd.grad(expected, u)
    actual = covariance_penalty(u)
    (gradient,) = torch.autograd.grad(actual, u)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-14)


def test_expectation_for_independent_uniform_columns() -> None:
    n, d = 64, 48
    generator = torch.Generator().manual_seed(0)
    values = torch.stack(
        [covariance_penalty(torch.rand(n, d, generator=generator)) for _ in range(400)]
    )
    error = float(values.std()) / 20
    assert float(values.mean()) == pytest.approx((d - 1) / (144 * (n - 1)), abs=4 * error)


def whitened(n: int, d: int, noise: float) -> Tensor:
    """Columns of zero mean and unit variance, correlated by about `noise`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    basis, _ = torch.linalg.qr(x - x.mean(dim=0))
    mixed = basis + noise * torch.randn(d, d, dtype=torch.float64, generator=generator)[0] * basis
    return mixed.roll(1, dims=1) * noise + mixed


@pytest.mark.parametrize("noise", [1e-2, 1e-4])
def test_float32_keeps_its_digits_where_dimensions_are_nearly_decorrelated(noise: float) -> None:
    x = whitened(128, 32, noise)
    exact, exact_gradient = _direct_form(x)
    value, gradient = _direct_form(x.float())
    assert float(value) == pytest.approx(float(exact), rel=1e-2)
    assert (gradient - exact_gradient).norm() < 1e-2 * exact_gradient.norm()
    cancelled, _ = _gram_form(x.float())
    assert noise > 1e-3 or abs(float(cancelled) / float(exact) - 1) > 0.1
    torch.testing.assert_close(
        covariance_penalty(x.float()) * 32 * 127**2, value, rtol=1e-2, atol=0
    )


def test_gram_form_is_accurate_in_its_worst_case() -> None:
    """Two orthonormal bases of n - 1 centred columns: the smallest penalty at d = 2(n - 1)."""
    n = 65
    bases = [whitened(n, n - 1, 0.0) for _ in range(2)]
    rotation, _ = torch.linalg.qr(torch.randn(n - 1, n - 1, dtype=torch.float64))
    x = torch.cat([bases[0], bases[1] @ rotation], dim=1)
    for exact, single in zip(_direct_form(x), _gram_form(x.float()), strict=True):
        assert (single - exact).norm() < 1e-5 * exact.norm()


def test_computes_outside_autocast_and_accepts_half() -> None:
    u = torch.rand(16, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = covariance_penalty(u)
    assert torch.equal(inside, covariance_penalty(u))
    half = u.bfloat16().requires_grad_()
    assert torch.autograd.grad(covariance_penalty(half), half)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(1, 4), (4,)])
def test_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="n >= 2"):
        covariance_penalty(torch.rand(shape))
