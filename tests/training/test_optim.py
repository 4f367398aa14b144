import io
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from e2mc.config.methods import Optimizer
from e2mc.training.optim import (
    LARS,
    build_optimizer,
    momentum_of,
    set_learning_rate,
    set_momentum,
)

MOMENTUM, DECAY, TRUST, RATE = 0.9, 0.03, 0.02, 0.5


def make_parameters() -> list[nn.Parameter]:
    """Matrices, kernels, 1-d, 0-d and an all-zero matrix, in float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 4), (3, 2, 2, 2), (6,), (), (4, 4)]
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    values[-1].zero_()
    return [nn.Parameter(value) for value in values]


def give_gradients(parameters: list[nn.Parameter], step: int) -> None:
    """Gradients that depend on the weights; the second is zero until step 3, the last until 5."""
    generator = torch.Generator().manual_seed(step + 1)
    for index, p in enumerate(parameters):
        noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        p.grad = 0.1 * p.detach() + noise
        if (index == 1 and step < 3) or (index == len(parameters) - 1 and step < 5):
            p.grad = torch.zeros_like(p)


def vicreg_reference(p: Tensor, mu: Tensor) -> None:
    """LARS.step of VICReg's main_vicreg.py for one parameter."""
    assert p.grad is not None
    update = p.grad
    if p.ndim != 1:
        update = update + DECAY * p
        weight_norm, update_norm = p.square().sum().sqrt(), update.square().sum().sqrt()
        if weight_norm > 0 and update_norm > 0:
            update = update * (TRUST * weight_norm / update_norm)
    mu.mul_(MOMENTUM).add_(update)
    p.sub_(RATE * mu)


def larc_reference(p: Tensor, mu: Tensor) -> None:
    """LARC(trust, clip=False) around SGD whose own decay is switched off, for one parameter."""
    assert p.grad is not None
    gradient = p.grad.clone()
    weight_norm, gradient_norm = p.square().sum().sqrt(), gradient.square().sum().sqrt()
    if weight_norm != 0 and gradient_norm != 0:
        rate = TRUST * weight_norm / (gradient_norm + weight_norm * DECAY + 1e-8)
        gradient = (gradient + DECAY * p) * rate
    mu.mul_(MOMENTUM).add_(gradient)
    p.sub_(RATE * mu)


def solo_learn_reference(
    p: Tensor,
    mu: Tensor,
    rate: float,
    clip: bool,
    exclude: bool,
    trust: float = TRUST,
    decay: float = DECAY,
) -> None:
    """LARS.step of solo-learn's solo/utils/lars.py (and Lightning Bolts) for one parameter."""
    assert p.grad is not None
    direction = p.grad
    weight_norm, gradient_norm = torch.norm(p), torch.norm(p.grad)
    if (p.ndim != 1 or not exclude) and weight_norm != 0 and gradient_norm != 0:
        lars_rate = trust * weight_norm / (gradient_norm + weight_norm * decay + 1e-8)
        if clip:
            lars_rate = min(lars_rate / rate, 1)
        direction = (direction + decay * p) * lars_rate
    mu.mul_(MOMENTUM).add_(direction)
    p.sub_(rate * mu)


@pytest.mark.parametrize(
    ("adapt_1d", "reference"), [(False, vicreg_reference), (True, larc_reference)]
)
def test_fifty_steps_equal_the_official_rule(adapt_1d, reference):
    ours, theirs = make_parameters(), make_parameters()
    optimizer = LARS(ours, RATE, MOMENTUM, DECAY, TRUST, adapt_1d)
    buffers = [torch.zeros_like(p) for p in theirs]
    for step in range(50):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        gradients = [p.grad.clone() for p in ours]
        optimizer.step()
        assert all(torch.equal(p.grad, g) for p, g in zip(ours, gradients, strict=True))
        with torch.no_grad():
            for p, buffer in zip(theirs, buffers, strict=True):
                reference(p, buffer)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("exclude", [False, True])
def test_fifty_steps_equal_solo_learns_lars(clip: bool, exclude: bool) -> None:
    ours, theirs = make_parameters(), make_parameters()
    settings = Optimizer(
        rule="larc", weight_decay=DECAY, trust=TRUST, clip=clip, adapt_1d=not exclude
    )
    optimizer = build_optimizer([{"params": ours}], settings, RATE)
    buffers = [torch.zeros_like(p) for p in theirs]
    bites = set()
    for step in range(50):
        rate = RATE * 0.8**step  # clipping starts on the way
        set_learning_rate(optimizer, rate)
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step()
        with torch.no_grad():
            for p, buffer in zip(theirs, buffers, strict=True):
                if p.ndim > 1 and p.norm() and p.grad.norm():
                    bites.add(bool(TRUST * p.norm() / p.grad.norm() > rate))
                solo_learn_reference(p, buffer, rate, clip, exclude)
    assert bites == {False, True}
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_clipped_lars_is_at_most_plain_sgd() -> None:
    results = []
    for trust in (0.001, 1e6):
        p = nn.Parameter(torch.full((3, 1), 2.0, dtype=torch.float64))
        p.grad = torch.full_like(p, 0.5)
        LARS([p], lr=0.1, weight_decay=0.25, trust=trust, clip=True).step()
        results.append(p[0].item())
    assert results == pytest.approx([2.0 - 0.001 * 2.0, 2.0 - 0.1 * 1.0], rel=1e-12)


@pytest.mark.parametrize("adapt_1d", [False, True])
def test_a_clipped_step_at_rate_zero_moves_nothing(adapt_1d: bool) -> None:
    parameters = make_parameters()
    before = [p.detach().clone() for p in parameters]
    give_gradients(parameters, 0)
    optimizer = LARS(parameters, 0.0, MOMENTUM, DECAY, TRUST, adapt_1d, clip=True)
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(parameters, before, strict=True))
    assert all(buffer["momentum_buffer"].isfinite().all() for buffer in optimizer.state.values())


def test_without_trust_it_is_torch_sgd_bit_for_bit():
    ours, theirs = make_parameters(), make_parameters()
    optimizer = LARS(ours, RATE, MOMENTUM, DECAY, trust=None)
    sgd = torch.optim.SGD(theirs, RATE, MOMENTUM, weight_decay=DECAY)
    for step in range(50):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step()
        sgd.step()
    assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))


def test_lars_and_larc_differ_on_one_dimensional_parameters():
    results = []
    for adapt_1d in (False, True):
        p = nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
        p.grad = torch.ones_like(p)
        LARS([p], lr=1.0, weight_decay=0.5, trust=0.001, adapt_1d=adapt_1d).step()
        results.append(p[0].item())
    assert results[0] == 2.0 - 1.0
    assert results[1] == pytest.approx(2.0 - 2.0 * 0.001 * 2 / (1 + 0.5 * 2), rel=1e-8)


def test_parameters_without_gradient_are_left_alone():
    moved, frozen = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.ones(2, 2)
    optimizer = LARS([moved, frozen], lr=1.0, weight_decay=1.0)
    optimizer.step()
    assert torch.equal(frozen, torch.ones(2, 2))
    assert frozen not in optimizer.state
    assert not torch.equal(moved, torch.ones(2, 2))


def test_state_survives_a_weights_only_reload():
    first, second = make_parameters(), make_parameters()
    optimizer = LARS(first, RATE, MOMENTUM, DECAY, TRUST)
    for step in range(7):
        give_gradients(first, step)
        optimizer.step()
    stream = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "weights": first}, stream)
    stream.seek(0)
    saved = torch.load(stream, weights_only=True)
    resumed = LARS(second, lr=99.0)
    resumed.load_state_dict(saved["optimizer"])
    with torch.no_grad():
        for p, q in zip(second, saved["weights"], strict=True):
            p.copy_(q)
    for step in range(7, 12):
        for parameters, rule in ((first, optimizer), (second, resumed)):
            give_gradients(parameters, step)
            rule.step()
    assert all(torch.equal(p, q) for p, q in zip(first, second, strict=True))


def test_recipes_choose_the_rule():
    def built(rule):
        settings = Optimizer(rule=rule, weight_decay=0.1)
        return build_optimizer([{"params": [nn.Parameter(torch.ones(1))]}], settings, 0.3).defaults

    assert built("sgd")["trust"] is None
    assert built("lars") == {**built("larc"), "adapt_1d": False, "summed_norms": False}
    assert built("lars")["trust"] == 0.001 and built("lars")["lr"] == 0.3


@pytest.mark.parametrize("option", [{"clip": True}, {"adapt_1d": False}])
def test_sgd_with_an_option_of_the_trust_ratio_is_refused(option: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match="sgd has no trust ratio"):
        Optimizer(rule="sgd", **option)


def test_a_group_with_its_own_rate_ignores_the_schedule():
    groups = [
        {"params": [nn.Parameter(torch.ones(1))]},
        {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1},
    ]
    optimizer = build_optimizer(groups, Optimizer(), 0.5)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.1]


def test_a_group_with_a_relative_rate_follows_the_schedule_at_a_multiple():
    weight, bias = make_parameters()[0], make_parameters()[2]
    groups = [{"params": [weight]}, {"params": [bias], "relative_rate": 0.024}]
    optimizer = build_optimizer(groups, Optimizer(rule="sgd", momentum=0.0), 0.2)
    for rate in (0.2, 0.1):
        before, bias.grad = bias.detach().clone(), torch.ones_like(bias)
        set_learning_rate(optimizer, rate)
        optimizer.step()
        torch.testing.assert_close(before - bias.detach(), torch.full_like(bias, 0.024 * rate))


def test_momentum_travels_by_name():
    module = nn.Linear(3, 2)
    optimizer = LARS(module.parameters(), lr=0.1)
    given = {"weight": torch.full((2, 3), 5.0)}
    set_momentum(optimizer, module, given)
    assert momentum_of(optimizer, module).keys() == {"weight"}
    assert torch.equal(momentum_of(optimizer, module)["weight"], given["weight"])
    for wrong in ({"wieght": torch.zeros(2, 3)}, {"weight": torch.zeros(3, 2)}):
        with pytest.raises(ValueError, match="fits no parameter"):
            set_momentum(optimizer, module, wrong)


def test_training_steps_do_not_import_dynamo():
    script = """
import sys, torch
from e2mc.training.optim import LARS
p = torch.nn.Parameter(torch.ones(2, 2))
optimizer = LARS([p], lr=0.1)
p.grad = torch.ones(2, 2)
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
