"""The m-spacings entropy against Algorithm 1 re-typed, closed forms and float64."""

import math

import pytest
import torch
from scipy.special import digamma
from torch import Tensor

from e2mc.criteria import marginal_entropy
from e2mc.criteria.spacings import _packed_sort, _stable_sort


def algorithm_1_entropy(u: Tensor) -> Tensor:
    n = u.shape[0]
    m = round(math.sqrt(n))
    ordered, _ = torch.sort(u, dim=0, stable=True)
    spacings = (ordered[m:] - ordered[: n - m]) * (n + 1) / m
    return torch.log(spacings + 1e-7).sum(dim=0) / (n - m)


@pytest.mark.parametrize(("n", "d"), [(2, 1), (3, 5), (32, 7), (200, 3)])
def test_equals_algorithm_1_in_value_and_gradient(n: int, d: int) -> None:
    u = torch.rand(n, d, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(d, dtype=torch.float64)
    expected = algorithm_1_entropy(u)
    (expected_gradient,) = torch.autograd.grad(expected @ weights, u)
    actual = marginal_entropy(u)
    (gradient,) = torch.autograd.grad(actual @ weights, u)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_float32_equals_float64() -> None:
    u = torch.rand(512, 6)
    exact = marginal_entropy(u.double())
    torch.testing.assert_close(marginal_entropy(u).double(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [2, 9, 512, 65536])
def test_both_sorts_agree_with_ties_and_negative_values(n: int) -> None:
    u = torch.randn(n, 3).mul(50).round().div(100) + 0.0  # no negative zeros
    for packed, stable in zip(_packed_sort(u, 1, 1e-7), _stable_sort(u, 1, 1e-7), strict=True):
        torch.testing.assert_close(packed, stable, rtol=1e-4, atol=1e-5 * float(stable.abs().max()))


def test_more_rows_than_a_packed_key_can_hold() -> None:
    u = torch.rand(65537, 1)
    torch.testing.assert_close(
        marginal_entropy(u).double(), algorithm_1_entropy(u.double()), rtol=0, atol=1e-4
    )


def test_threads_change_nothing() -> None:
    u = torch.rand(512, 1000, requires_grad=True)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            entropy = marginal_entropy(u)
            results.append((entropy, torch.autograd.grad(entropy.sum(), u)[0]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize(
    ("n", "m", "published"), [(512, 23, -0.020922), (144, 12, -0.038793), (64, 8, -0.056088)]
)
def test_uniform_samples_have_the_closed_form(n: int, m: int, published: float) -> None:
    expected = digamma(m) - digamma(n + 1) + math.log((n + 1) / m)
    assert expected == pytest.approx(published, abs=1e-6)
    u = torch.rand(n, 4000, generator=torch.Generator().manual_seed(0))
    entropies = marginal_entropy(u)
    error = float(entropies.std()) / math.sqrt(4000)
    assert float(entropies.mean()) == pytest.approx(expected, abs=4 * error)


def test_known_densities() -> None:
    """Beta(2, 2) has entropy log B(2, 2) + ... = -0.1251; a half-width uniform has -log 2."""
    u = torch.distributions.Beta(2.0, 2.0).sample((20000, 1))
    assert float(marginal_entropy(u)) == pytest.approx(-0.12509, abs=0.02)
    assert float(marginal_entropy(torch.rand(20000, 1) / 2)) == pytest.approx(
        -math.log(2), abs=0.02
    )


@pytest.mark.parametrize("eps", [1e-7, 2**-23])
def test_constant_column_is_log_eps(eps: float) -> None:
    u = torch.full((64, 2), 0.3, requires_grad=True)
    entropy = marginal_entropy(u, eps=eps)
    torch.testing.assert_close(entropy, torch.full((2,), math.log(eps)))
    assert torch.autograd.grad(entropy.sum(), u)[0].isfinite().all()


def test_spacing_larger_than_the_batch_is_the_range() -> None:
    u = torch.rand(5, 3, dtype=torch.float64)
    spread = u.max(dim=0).values - u.min(dim=0).values
    torch.testing.assert_close(marginal_entropy(u, spacing=99), torch.log(spread * 6 / 4 + 1e-7))


def test_explicit_spacing_and_half_precision() -> None:
    u = torch.rand(100, 3)
    torch.testing.assert_close(marginal_entropy(u, spacing=10), marginal_entropy(u))
    assert not torch.allclose(marginal_entropy(u, spacing=3), marginal_entropy(u))
    half = u.half().requires_grad_()
    entropy = marginal_entropy(half)
    assert entropy.dtype == torch.float32
    assert torch.autograd.grad(entropy.sum(), half)[0].dtype == torch.float16


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((5,), {}, r"\(n, d\)"),
        ((1, 5), {}, "n >= 2"),
        ((5, 2), {"spacing": 0}, "spacing"),
        ((5, 2), {"eps": 0.0}, "eps"),
    ],
)
def test_refuses(shape: tuple[int, ...], arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        marginal_entropy(torch.rand(shape), **arguments)  # type: ignore[arg-type]
