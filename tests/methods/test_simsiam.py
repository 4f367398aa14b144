import pytest
import torch
from torch import Tensor

from e2mc.config import methods as recipes
from e2mc.config.methods import Backbone, Training
from e2mc.methods import build_method
from e2mc.methods.simsiam import simsiam_loss

SMALL = Backbone(layers=(1, 1, 1, 1), width=4, stem="cifar")
RECIPE = recipes.SimSiam(projector=14, predictor=6)


def random(n: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, dtype=torch.float64, generator=generator).requires_grad_()


def official_loss(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """`main_simsiam.py`, the cosine written out."""

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return ((a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))).mean()

    return -(cosine(p1, z2.detach()) + cosine(p2, z1.detach())) * 0.5


def test_is_the_official_loss_in_value_and_gradient() -> None:
    p1, p2, z1, z2 = (random(7, 5, seed) for seed in range(4))
    ours, theirs = simsiam_loss(p1, p2, z1, z2), official_loss(p1, p2, z1, z2)
    torch.testing.assert_close(ours, theirs)
    for mine, official in zip(
        torch.autograd.grad(ours, (p1, p2)), torch.autograd.grad(theirs, (p1, p2)), strict=True
    ):
        torch.testing.assert_close(mine, official)


def test_targets_receive_no_gradient() -> None:
    p1, p2, z1, z2 = (random(7, 5, seed) for seed in range(4))
    gradients = torch.autograd.grad(simsiam_loss(p1, p2, z1, z2), (z1, z2, p1), allow_unused=True)
    assert gradients[0] is None and gradients[1] is None and gradients[2] is not None


def test_perfect_prediction_reaches_minus_one_and_zeros_are_finite() -> None:
    z = random(4, 3, 0)
    assert simsiam_loss(z, 2 * z, z, 3 * z).item() == pytest.approx(-1)
    zero = torch.zeros(4, 3, requires_grad=True)
    loss = simsiam_loss(zero, zero, zero, zero)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, zero)[0].isfinite().all()


def test_half_precision_is_computed_in_float32_even_under_autocast() -> None:
    inputs = [random(7, 5, seed).detach().bfloat16() for seed in range(4)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = simsiam_loss(*inputs)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, official_loss(*(x.float() for x in inputs)))


def test_step_hands_over_z_with_its_gradient() -> None:
    torch.manual_seed(0)
    module = build_method(RECIPE, SMALL)
    images = [torch.randn(6, 3, 16, 16), 3 + torch.randn(6, 3, 16, 16)]
    step = module(images)
    z = [module.embed(view) for view in images]
    for embedding, expected in zip(step.embeddings, z, strict=True):
        torch.testing.assert_close(embedding, expected)
        assert embedding.requires_grad
        # the last BatchNorm has no weights: zero mean, unit variance
        torch.testing.assert_close(embedding.mean(dim=0), torch.zeros(14), atol=1e-5, rtol=0)
    loss = official_loss(*(module.predictor(view) for view in z), *z)
    torch.testing.assert_close(step.loss, loss)
    step.loss.backward()
    assert module.backbone.conv1.weight.grad.abs().sum() > 0


def test_frozen_bias_is_kept_in_the_state_but_not_trained() -> None:
    module = build_method(RECIPE, SMALL)
    state = module.state_dict()
    assert "projector.6.bias" in state and "projector.7.weight" not in state
    frozen = module.projector[6].bias
    assert not frozen.requires_grad
    encoder, predictor = module.parameter_groups(Training(learning_rate=0.1))
    trained = [*encoder["params"], *predictor["params"]]
    assert all(p is not frozen for p in trained)
    assert len(trained) == len(list(module.parameters())) - 1
    assert {id(p) for p in predictor["params"]} == {id(p) for p in module.predictor.parameters()}


def test_predictor_keeps_a_rate_of_its_own_if_it_has_one() -> None:
    module = build_method(RECIPE, SMALL)
    groups = module.parameter_groups(Training(learning_rate=0.1, predictor_learning_rate=0.7))
    assert "lr" not in groups[0] and groups[1]["lr"] == 0.7
    assert all("lr" not in group for group in module.parameter_groups(Training(learning_rate=0.1)))
