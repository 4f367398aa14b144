"""VCReg, uniformity and MMCR against the official code, re-typed."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from e2mc.criteria import MMCR, Uniformity, VCReg, variance_hinge


def official_vcreg(views: list[Tensor], mu: float, nu: float, space: str) -> Tensor:
    variance = covariance = torch.zeros(())
    for z in views:
        z = F.normalize(z, dim=1, p=2) if space == "hypersphere" else z
        n, d = z.shape
        target = 1 / d**0.5 if space == "hypersphere" else 1.0
        z = z - z.mean(dim=0)
        variance = variance + torch.mean(F.relu(target - torch.sqrt(z.var(dim=0) + 0.0001)))
        c = (z.T @ z) / (n - 1)
        c = c - torch.diag(torch.diag(c))
        covariance = covariance + c.pow(2).sum().div(d)
    return mu * variance / len(views) + nu * covariance


@pytest.mark.parametrize("space", ["hypersphere", "projector"])
def test_vcreg(space: str) -> None:
    views = [torch.randn(30, 12, dtype=torch.float64) * 0.5 for _ in range(2)]
    criterion = VCReg(0.1, 0.5, space=space)  # type: ignore[arg-type]
    torch.testing.assert_close(criterion(views), official_vcreg(views, 0.1, 0.5, space))
    assert criterion.terms(views)["variance"] > 0


def pdist_uniformity(z: Tensor, t: float) -> Tensor:
    return torch.pdist(F.normalize(z, dim=-1), p=2).pow(2).mul(-t).exp().mean().log()


@pytest.mark.parametrize(("over_views", "factor"), [("mean", 0.5), ("sum", 1.0)])
def test_uniformity(over_views: str, factor: float) -> None:
    views = [torch.randn(25, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    expected = factor * sum(pdist_uniformity(z, 3.0) for z in views)
    criterion = Uniformity(1.0, kernel_width=3.0, over_views=over_views)  # type: ignore[arg-type]
    torch.testing.assert_close(criterion(views), expected)
    for one, other in zip(
        torch.autograd.grad(criterion(views), views),
        torch.autograd.grad(expected, views),  # type: ignore[arg-type]
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_the_variance_hinge_by_itself() -> None:
    half = torch.randn(64, 5).half()
    torch.testing.assert_close(variance_hinge(half), variance_hinge(half.float()))
    with pytest.raises(ValueError, match=r"n >= 2, got \(1, 5\)"):
        variance_hinge(half[:1])


def test_uniformity_of_two_opposite_points_and_of_one_point() -> None:
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert float(Uniformity(1.0)([opposite])) == pytest.approx(-8.0)
    assert float(Uniformity(1.0)([torch.ones(4, 2)])) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("n", "d", "views"), [(20, 5, 8), (5, 20, 2)])
def test_mmcr(n: int, d: int, views: int) -> None:
    z = torch.randn(views, n, d, dtype=torch.float64)
    unit = (z / z.norm(dim=2, keepdim=True)).numpy()
    nuclear = np.linalg.norm(unit.mean(axis=0), ord="nuc")
    local = np.mean([np.linalg.norm(unit[:, i], ord="nuc") for i in range(n)])
    assert float(MMCR()(list(z))) == pytest.approx(-0.005 * nuclear)
    both = MMCR(weight=2.0, local_weight=0.1)
    assert float(both(list(z))) == pytest.approx(2.0 * (-nuclear + 0.1 * local))


def test_mmcr_bound_is_reached_by_orthogonal_centroids() -> None:
    basis = torch.eye(6, dtype=torch.float64)
    assert float(MMCR().terms([basis, basis])["nuclear_norm"]) == pytest.approx(6.0)
    assert float(MMCR().terms([basis.repeat(4, 1)])["nuclear_norm"]) == pytest.approx(12.0)


def test_only_mmcr_looks_at_all_views() -> None:
    assert MMCR.all_views
    assert not VCReg.all_views
    assert not Uniformity.all_views


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (VCReg, {"space": "cube"}, "projector"),
        (VCReg, {"variance_weight": -1.0}, "variance_weight"),
        (VCReg, {"covariance_weight": -1.0}, "covariance_weight"),
        (Uniformity, {"weight": -1.0}, "weight"),
        (Uniformity, {"kernel_width": 0.0}, "kernel_width"),
        (Uniformity, {"over_views": "max"}, "over_views"),
        (MMCR, {"weight": -1.0}, "weight"),
        (MMCR, {"local_weight": -1.0}, "local_weight"),
    ],
)
def test_refuses(kind: type, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
