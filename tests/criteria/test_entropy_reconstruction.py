"""The ER bound against closed forms, high-precision Bessel functions and published numbers."""

import math

import mpmath
import pytest
import torch
from torch.nn import functional as F

from e2mc.criteria import EntropyReconstruction
from e2mc.criteria.entropy_reconstruction import log_bessel, log_sphere_normalizer


@pytest.mark.parametrize(
    ("order", "x"), [(0.0, 0.1), (0.5, 10.0), (63.0, 10.0), (499.0, 10.0), (4095.0, 10.0), (3, 700)]
)
def test_log_bessel(order: float, x: float) -> None:
    expected = float(mpmath.log(mpmath.besseli(order, x)))
    assert log_bessel(order, x) == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_normalizer_on_the_ordinary_sphere_and_at_high_dimension() -> None:
    assert log_sphere_normalizer(3, 4.0) == pytest.approx(
        math.log(4 * math.pi * math.sinh(4.0) / 4.0)
    )
    area = math.log(2) + 64 * math.log(math.pi) - math.lgamma(64)
    assert log_sphere_normalizer(128, 1e-6) == pytest.approx(area)


@pytest.mark.parametrize("estimator", ["joe", "plug-in"])
def test_entropy_of_uniform_points_is_the_log_area(estimator: str) -> None:
    z = torch.randn(3000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    criterion = EntropyReconstruction(estimator=estimator, reconstruction_weight=0.0)  # type: ignore[arg-type]
    terms = criterion.terms([z])
    assert list(terms) == ["entropy"]
    assert float(terms["entropy"]) == pytest.approx(math.log(4 * math.pi), abs=0.03)


@pytest.mark.parametrize("estimator", ["joe", "plug-in"])
def test_equals_the_reference_up_to_its_floored_constant(estimator: str) -> None:
    """entropy_reconstruction.py re-typed with the constant left out, which its floor replaces."""
    a, b = torch.randn(2, 20, 7, dtype=torch.float64)
    kappa, entropies = 5.0, []
    for z in (F.normalize(a), F.normalize(b)):
        surprise = -torch.logsumexp(kappa * z @ z.T, dim=-1) + math.log(20)
        weights = (-surprise).softmax(0) if estimator == "plug-in" else torch.full((20,), 1 / 20)
        entropies.append((weights * surprise).sum())
    reconstruction = -kappa * (F.normalize(a) * F.normalize(b)).sum(dim=-1).mean()
    criterion = EntropyReconstruction(2.0, kappa, estimator)  # type: ignore[arg-type]
    expected = 2.0 * (reconstruction - torch.stack(entropies).mean())
    torch.testing.assert_close(criterion([a, b]), expected)


def test_published_entropy_is_explained_by_the_floor() -> None:
    """The reference prints -249.3 for 1,000 Gaussian points in 1,000 dimensions."""
    z = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(0))
    entropy = float(EntropyReconstruction(reconstruction_weight=0.0).terms([z])["entropy"])
    assert entropy - log_bessel(499.0, 10.0) + math.log(1e-7) == pytest.approx(-249.3, abs=0.1)
    assert entropy < -1500


def test_bound_on_the_information_of_independent_views_is_not_positive() -> None:
    a, b = torch.randn(2, 400, 4, generator=torch.Generator().manual_seed(0))
    criterion = EntropyReconstruction(concentration=3.0)
    assert float(criterion([a, b])) > 0
    assert float(criterion([a, a])) < float(criterion([a, b]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "weight"),
        ({"concentration": 0.0}, "concentration"),
        ({"estimator": "kde"}, "plug-in"),
        ({"reconstruction_weight": -1.0}, "reconstruction_weight"),
    ],
)
def test_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EntropyReconstruction(**arguments)  # type: ignore[arg-type]


def test_refuses_one_view_or_one_dimension() -> None:
    with pytest.raises(ValueError, match="two views"):
        EntropyReconstruction()([torch.randn(5, 3)])
    with pytest.raises(ValueError, match="dimensions"):
        EntropyReconstruction()([torch.randn(5, 1), torch.randn(5, 1)])
