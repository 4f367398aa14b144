import pytest
import torch
from torch import Tensor

from e2mc.config.methods import Backbone, VICReg
from e2mc.criteria import covariance_penalty
from e2mc.errors import E2MCError
from e2mc.methods import build_method
from e2mc.methods.vicreg import vicreg_loss, vicreg_terms

SMALL = Backbone(layers=(1, 1, 1, 1), width=4, stem="cifar")


def official_loss(x: Tensor, y: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """The forward of the official `main_vicreg.py`, re-typed; batch size = rows."""
    n, d = x.shape
    invariance = ((x - y) ** 2).sum() / (n * d)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    standard_deviations = [torch.sqrt(view.var(dim=0) + 0.0001) for view in (x, y)]
    variance = sum(torch.relu(1 - s).mean() / 2 for s in standard_deviations)
    covariance = torch.zeros((), dtype=x.dtype)
    for view in (x, y):
        matrix = view.T @ view / (n - 1)
        off_diagonal = matrix[~torch.eye(d, dtype=torch.bool)]
        covariance = covariance + (off_diagonal**2).sum() / d
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance


def views(n: int, d: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return [
        (0.8 * common + 0.3 * torch.randn(n, d, generator=generator, dtype=torch.float64))
        .mul(torch.linspace(0.2, 2, d))
        .requires_grad_()
        for _ in range(2)
    ]


@pytest.mark.parametrize("shape", [(16, 5), (6, 40)])
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 3.0, 2.0)])
def test_is_the_official_loss_in_value_and_gradient(
    shape: tuple[int, int], weights: tuple[float, float, float]
) -> None:
    a, b = views(*shape)
    ours, theirs = vicreg_loss(a, b, *weights), official_loss(a, b, weights)
    torch.testing.assert_close(ours, theirs)
    for mine, official in zip(
        torch.autograd.grad(ours, (a, b)), torch.autograd.grad(theirs, (a, b)), strict=True
    ):
        torch.testing.assert_close(mine, official)


def test_default_weights_are_the_official_ones() -> None:
    a, b = views(16, 5)
    torch.testing.assert_close(vicreg_loss(a, b), official_loss(a, b, (25.0, 25.0, 1.0)))


def test_covariance_term_is_the_criteria_s() -> None:
    a, b = views(12, 30)
    expected = covariance_penalty(a) + covariance_penalty(b)
    assert torch.equal(vicreg_terms(a, b)["covariance"], expected)


def test_collapsed_views_give_the_largest_hinge_and_finite_gradients() -> None:
    a, b = (torch.zeros(8, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = vicreg_loss(a, b)
    assert loss.item() == pytest.approx(25 * (1 - 1e-4**0.5))
    for gradient in torch.autograd.grad(loss, (a, b)):
        assert gradient.isfinite().all()


def test_half_precision_is_computed_in_float32_even_under_autocast() -> None:
    a, b = (view.detach().bfloat16() for view in views(32, 16))
    expected = vicreg_loss(a.float(), b.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = vicreg_loss(a, b)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("shapes", [((1, 4), (1, 4)), ((4, 3), (4, 2)), ((4,), (4,))])
def test_impossible_input_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(E2MCError, match=r"at least 2 images|two views \(n, d\) of one shape"):
        vicreg_loss(*(torch.zeros(shape) for shape in shapes))


def test_step_has_one_forward_pass_per_view() -> None:
    """BatchNorm statistics per view: a joint pass would give other embeddings."""
    torch.manual_seed(0)
    module = build_method(VICReg(projector=(12, 12, 10), variance=3.0), SMALL)
    images = [torch.randn(6, 3, 16, 16), 3 + torch.randn(6, 3, 16, 16)]
    step = module(images)
    expected = [module.embed(view) for view in images]
    assert len(step.embeddings) == 2 == module.full_views
    for embedding, view in zip(step.embeddings, expected, strict=True):
        torch.testing.assert_close(embedding, view)
    torch.testing.assert_close(step.loss, vicreg_loss(*expected, 25.0, 3.0, 1.0))
    terms = vicreg_terms(*expected)
    assert step.terms.keys() == {f"vicreg_{name}" for name in terms}
    assert not any(term.requires_grad for term in step.terms.values())
    step.loss.backward()
    assert all(p.grad is not None for p in module.parameters())


def test_more_than_two_views_are_refused() -> None:
    module = build_method(VICReg(projector=(12, 12, 10)), SMALL)
    with pytest.raises(E2MCError, match=r"vicreg compares two views .* got 3.*full_views: 2"):
        module([torch.randn(2, 3, 8, 8)] * 3)
