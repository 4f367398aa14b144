"""KoLeo, SIGReg, VISReg and Radial-VCReg against re-typed references, closed forms and the "X"."""

import math
from statistics import NormalDist

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from e2mc.criteria import E2MC, Criterion, KoLeo, RadialVCReg, SIGReg, Uniformity, VCReg, VISReg
from e2mc.criteria.slices import RandomSlices
from tests.criteria.test_covariance import algorithm_1_covariance
from tests.criteria.test_spacings import algorithm_1_entropy


def assert_equal_with_gradient(ours: Tensor, theirs: Tensor, views: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs)
    expected = torch.autograd.grad(theirs, views)
    for one, other in zip(torch.autograd.grad(ours, views), expected, strict=True):
        torch.testing.assert_close(one, other)


def two_views(n: int, d: int) -> list[Tensor]:
    return [1.3 * torch.randn(n, d, dtype=torch.float64) + 0.2 for _ in range(2)]


def koleo_by_distances(z: Tensor, neighbours: int) -> Tensor:
    """From the distances themselves, where dinov2 goes through similarities."""
    distances = torch.pdist(F.normalize(z))
    square = z.new_full((len(z), len(z)), torch.inf)
    rows, columns = torch.triu_indices(len(z), len(z), 1)
    square = square.index_put((rows, columns), distances).index_put((columns, rows), distances)
    return -torch.log(square.sort(dim=1).values[:, :neighbours] + 1e-8).mean()


@pytest.mark.parametrize("neighbours", [1, 3])
def test_koleo(neighbours: int) -> None:
    views = [z.requires_grad_() for z in two_views(20, 6)]
    expected = sum(koleo_by_distances(z, neighbours) for z in views) / 2
    criterion = KoLeo(0.7, neighbours=neighbours)
    assert_equal_with_gradient(criterion(views), 0.7 * expected, views)  # type: ignore[arg-type]


def test_koleo_of_opposite_and_of_repeated_points() -> None:
    opposite = torch.tensor([[2.0, 0.0], [-1.0, 0.0]])
    assert float(KoLeo(1.0)([opposite])) == pytest.approx(-math.log(2))
    repeated = torch.ones(3, 2, requires_grad=True)
    loss = KoLeo(1.0)([repeated])
    assert loss.item() == pytest.approx(-math.log(1e-8), rel=1e-6)
    assert torch.equal(torch.autograd.grad(loss, repeated)[0], torch.zeros(3, 2))


def test_koleo_is_an_entropy() -> None:
    """On the circle: H = mean ln(2 (n - 1) distance) + Euler's constant, ln 2 pi if uniform."""
    angles = torch.rand(4000, dtype=torch.float64) * 2 * math.pi
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    entropy = -float(KoLeo(1.0)([circle])) + math.log(2 * 3999) + 0.5772156649
    assert entropy == pytest.approx(math.log(2 * math.pi), abs=0.06)


def epps_pulley(x: Tensor, t_max: float = 3.0, points: int = 17) -> Tensor:
    """lightly's SIGReg (MIT) for given projections (n, slices), re-typed."""
    t = torch.linspace(0, t_max, points, dtype=x.dtype)
    step = t_max / (points - 1)
    weights = torch.full((points,), 2 * step, dtype=x.dtype)
    weights[[0, -1]] = step
    phi = torch.exp(-t.square() / 2)
    x_t = x.unsqueeze(-1) * t
    error = (x_t.cos().mean(0) - phi).square() + x_t.sin().mean(0).square()
    return ((error @ (weights * phi)) * len(x)).mean()


@pytest.mark.parametrize(("t_max", "points"), [(3.0, 17), (5.0, 9)])
def test_sigreg(t_max: float, points: int) -> None:
    views = [z.requires_grad_() for z in two_views(30, 8)]
    criterion = SIGReg(0.3, slices=50, t_max=t_max, points=points).eval()
    directions = criterion.slices(views[0])
    expected = sum(epps_pulley(z @ directions, t_max, points) for z in views) / 2
    assert_equal_with_gradient(criterion(views), 0.3 * expected, views)  # type: ignore[arg-type]


def test_sigreg_tends_to_the_closed_form_of_its_integral() -> None:
    x = 1.5 * torch.randn(40, 1, dtype=torch.float64)
    pairs = torch.exp(-((x - x.T) ** 2) / 2).mean() * math.sqrt(2 * math.pi)
    single = torch.exp(-(x**2) / 4).mean() * math.sqrt(math.pi)
    exact = len(x) * (pairs - 2 * single + math.sqrt(2 * math.pi / 3))
    statistic = SIGReg(1.0, slices=3, t_max=12.0, points=400)([x])  # one dimension: signs only
    torch.testing.assert_close(statistic, exact, rtol=1e-6, atol=0)


def visreg(z: Tensor, directions: Tensor, epsilon: float = 1e-4) -> Tensor:
    """lightly's three terms (MIT), re-typed, with the quantiles from the standard library."""
    n = len(z)
    mean, std = z.mean(dim=0, keepdim=True), z.std(dim=0, unbiased=False, keepdim=True)
    projected = ((z - mean) / (std.detach() + epsilon)) @ directions
    quantiles = torch.tensor([[NormalDist().inv_cdf(i / (n + 1))] for i in range(1, n + 1)])
    shape = (projected.sort(dim=0).values - quantiles.to(z.dtype)).square().mean()
    return 0.3 * mean.square().mean() + 0.5 * (1 - std).square().mean() + 0.7 * shape


def test_visreg() -> None:
    views = [z.requires_grad_() for z in two_views(30, 8)]
    criterion = VISReg(0.3, 0.5, 0.7, slices=50).eval()
    directions = criterion.slices(views[0])
    expected = sum(visreg(z, directions) for z in views) / 2
    torch.testing.assert_close(criterion(views), expected, rtol=1e-5, atol=0)  # type: ignore[arg-type]
    for one, other in zip(
        torch.autograd.grad(criterion(views), views),
        torch.autograd.grad(expected, views),  # type: ignore[arg-type]
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


def radial_vcreg(x: Tensor, eps: float = 1e-6) -> Tensor:
    """train_xdist.py (MIT), forward KL, re-typed; the constant divides by d there, too."""
    r = torch.clamp(torch.norm(x, dim=1), min=eps)
    cross_entropy = torch.mean(0.5 * r**2 - (x.shape[1] - 1) * torch.log(r))
    n, m = len(x), round(math.sqrt(len(x)))
    ordered, _ = torch.sort(r)
    entropy = torch.log((ordered[m:] - ordered[: n - m]) * (n + 1) / m + eps).sum() / (n - m)
    variance = torch.mean(F.relu(1 - torch.sqrt(x.var(dim=0) + eps)))
    covariance = algorithm_1_covariance(x)
    return 2.0 * variance + 3.0 * covariance + 5.0 * cross_entropy - 7.0 * entropy


def test_radial_vcreg() -> None:
    views = [(0.6 * z).requires_grad_() for z in two_views(30, 8)]
    expected = sum(radial_vcreg(z) for z in views) / 2
    criterion = RadialVCReg(2.0, 3.0, 5.0, 7.0)
    assert criterion.terms(views)["variance"] > 0
    assert_equal_with_gradient(criterion(views), expected, views)  # type: ignore[arg-type]


@pytest.mark.parametrize("d", [2, 64])
def test_radial_terms_are_the_divergence_from_a_chi_distribution(d: int) -> None:
    """0 for Gaussian embeddings, and what two Gaussians of unequal width are apart otherwise."""
    z = torch.randn(4000, d, dtype=torch.float64)
    normalizer = (d / 2 - 1) * math.log(2) + math.lgamma(d / 2)
    for scale in (1.0, 1.2):
        terms = RadialVCReg().terms([scale * z])
        divergence = float(terms["cross_entropy"] - terms["entropy"]) + normalizer
        exact = d * (scale**2 - 1) / 2 - d * math.log(scale)
        assert divergence == pytest.approx(exact, abs=0.08)  # bias of the spacings


def the_x(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A Gaussian square and the "X", with equal marginals and without covariances."""
    square = torch.rand(n, 2, dtype=torch.float64, generator=generator)
    x = square.clone()
    upward = torch.rand(n, generator=generator) < 0.5
    x[:, 1] = torch.where(upward, x[:, 0], 1 - x[:, 0])
    return torch.special.ndtri(square), torch.special.ndtri(x)


SEES = {
    "e2mc": (lambda: E2MC("hypersphere", 1.0, 25.0), False),
    "vcreg": (lambda: VCReg(space="projector"), False),
    "auh": (Uniformity, True),
    "koleo": (KoLeo, True),
    "sigreg": (SIGReg, True),
    "visreg": (VISReg, True),
    "radial": (RadialVCReg, True),
}


@pytest.mark.parametrize("name", SEES)
def test_who_sees_the_x(name: str) -> None:
    """Ten standard deviations between samples, or none; docs/criteria.md has the table."""
    make, sees = SEES[name]
    criterion: Criterion = make().eval()  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(0)
    values = torch.stack(
        [torch.stack([criterion([z]) for z in the_x(512, generator)]) for _ in range(20)]
    )
    difference = float((values[:, 1].mean() - values[:, 0].mean()) / values[:, 0].std())
    assert difference > 10 if sees else abs(difference) < 1


def test_visreg_has_a_gradient_where_sigreg_has_lost_it() -> None:
    """At a collapsed point, which is what the scale term is for."""
    norms = {}
    for criterion in (SIGReg(1.0, slices=64), VISReg(shape_weight=0.0, slices=64)):
        for spread in (1.5, 1e-4):
            z = (spread * torch.randn(64, 8, dtype=torch.float64)).requires_grad_()
            (gradient,) = torch.autograd.grad(criterion([z]), z)
            norms[type(criterion).__name__, spread] = float(gradient.norm())
    assert norms["SIGReg", 1e-4] < 0.01 * norms["SIGReg", 1.5]
    assert norms["VISReg", 1e-4] > norms["VISReg", 1.5]


def test_slices_are_new_in_each_step_and_resume_exactly() -> None:
    z = torch.randn(1, 5)
    slices = RandomSlices(7, seed=3)
    drawn = [slices(z) for _ in range(3)]
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn[0].norm(dim=0), torch.ones(7))
    resumed = RandomSlices(7, seed=3)
    resumed.load_state_dict(slices.state_dict())
    shown = resumed.eval()(z)
    assert torch.equal(shown, resumed(z)), "evaluation uses no directions up"
    assert torch.equal(shown, slices(z))
    assert not torch.equal(RandomSlices(7, seed=4)(z), drawn[0])
    torch.manual_seed(99)
    assert torch.equal(RandomSlices(7, seed=3)(z), drawn[0]), "the global generator plays no part"


@pytest.mark.parametrize("kind", [SIGReg, VISReg])
def test_a_resumed_run_goes_on_exactly(kind: type[Criterion]) -> None:
    views = list(torch.randn(2, 16, 4))
    criterion, resumed = kind(slices=16), kind(slices=16)  # type: ignore[call-arg]
    first = criterion(views)
    resumed.load_state_dict(criterion.state_dict())
    assert torch.equal(resumed(views), criterion(views))
    assert not torch.equal(first, criterion(views))


def test_directions_are_isotropic() -> None:
    drawn = RandomSlices(20000, seed=0)(torch.zeros(1, 3, dtype=torch.float64))
    moment = drawn @ drawn.t() / 20000
    torch.testing.assert_close(moment, torch.eye(3, dtype=torch.float64) / 3, rtol=0, atol=0.01)
    assert drawn.mean(dim=1).abs().max() < 0.02


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (KoLeo, {"weight": -1.0}, "weight"),
        (KoLeo, {"neighbours": 0}, "neighbours"),
        (KoLeo, {"epsilon": 0.0}, "epsilon"),
        (SIGReg, {"weight": -1.0}, "weight"),
        (SIGReg, {"slices": 0}, "slices"),
        (SIGReg, {"t_max": 0.0}, "t_max"),
        (SIGReg, {"points": 1}, "points"),
        (VISReg, {"scale_weight": -1.0}, "scale_weight"),
        (VISReg, {"slices": 0}, "slices"),
        (VISReg, {"epsilon": 0.0}, "epsilon"),
        (RadialVCReg, {"entropy_weight": -1.0}, "entropy_weight"),
        (RadialVCReg, {"spacing": 0}, "spacing"),
        (RadialVCReg, {"epsilon": 0.0}, "epsilon"),
    ],
)
def test_refuses(kind: type, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_radial_entropy_is_that_of_e2mc() -> None:
    z = torch.randn(50, 4, dtype=torch.float64)
    expected = algorithm_1_entropy(z.norm(dim=1, keepdim=True)).mean()
    torch.testing.assert_close(RadialVCReg(epsilon=1e-7).terms([z])["entropy"], expected)
