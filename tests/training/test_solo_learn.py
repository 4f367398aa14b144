"""Steps of config/cifar10.yaml are those of solo-learn's scripts/pretrain/cifar, in float64.

The reference is typed anew from solo-learn (9187ea3): torchvision's trunk with a 3x3 stem, heads,
`solo/losses`, `solo/utils/lars.py` and torch's SGD. Both train on the same batches from the same
weights. Of its last VICReg layer solo-learn trains a bias, whose gradient is zero.

Not theirs in config/cifar10.yaml, and so not compared: their stem pads by 2 pixels, their residual
branches do not begin at zero, their warm-up begins at 3e-5. In SwAV three things are the official
code's, in ours and in this reference: prototypes are normalised before every step (theirs have
trained lengths, `weight_norm`), both views go through trunk and head at once (theirs one by one,
which changes the statistics of BatchNorm), and the queue joins when full (theirs from an epoch on).
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, ResNet

from e2mc.config import load_experiment
from e2mc.config.methods import AnyRecipe, Backbone
from e2mc.methods import Method, build_method
from e2mc.methods.swav import SwAV
from e2mc.training.optim import build_optimizer, set_learning_rate
from tests.training.test_optim import solo_learn_reference

CONFIG = Path(__file__).parents[2] / "config/cifar10.yaml"
BACKBONE = Backbone(block="basic", layers=(1, 1, 1, 1), width=4, stem="cifar")
STEPS, BATCH = 12, 16
Views = tuple[Tensor, Tensor]


def recipe_of(base: str, **smaller: object) -> AnyRecipe:
    """As configured, but for the widths of the heads."""
    return load_experiment(CONFIG).recipe(base).model_copy(update=smaller)


def batches() -> Iterator[Views]:
    rng = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        images = torch.randn(BATCH, 3, 16, 16, generator=rng, dtype=torch.float64)
        noise = 0.3 * torch.randn(2, *images.shape, generator=rng, dtype=torch.float64)
        yield images + noise[0], images + noise[1]


def rates(peak: float) -> list[float]:
    """Up and down again, so that the trust ratio is clipped in some steps and not in others."""
    return [peak * min(step + 1, STEPS - step) / (STEPS / 2) for step in range(STEPS)]


class Solo(nn.Module):
    """Their trunk and heads, with our first weights."""

    def __init__(self, ours: Method) -> None:
        super().__init__()
        self.backbone = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=1)
        self.backbone.conv1 = nn.Conv2d(3, 4, kernel_size=3, stride=1, padding=1, bias=False)
        self.backbone.maxpool = nn.Identity()
        width, self.backbone.inplanes = 4, 4
        self.backbone.bn1 = nn.BatchNorm2d(width)
        for stage in range(4):
            layer = self.backbone._make_layer(BasicBlock, width << stage, 1, 1 + (stage > 0))
            setattr(self.backbone, f"layer{stage + 1}", layer)
        self.backbone.fc = nn.Identity()
        self.projector = copy.deepcopy(ours.projector)
        self.predictor = copy.deepcopy(getattr(ours, "predictor", None))
        if isinstance(ours, SwAV):
            self.prototypes = copy.deepcopy(ours.prototypes)
            self.register_buffer("queue", torch.zeros_like(ours.queue))
        self.double().load_state_dict(ours.state_dict())


def vicreg_loss_func(solo: Solo, views: Views) -> Tensor:
    """`solo/losses/vicreg.py` with the weights of the yaml: 25, 25, 1."""
    z1, z2 = (solo.projector(solo.backbone(view)) for view in views)
    std_loss, cov_loss = 0.0, 0.0
    for z in (z1, z2):
        std_loss += torch.mean(F.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4)))
        centred = z - z.mean(dim=0)
        cov = centred.T @ centred / (len(z) - 1)
        off = ~torch.eye(z.shape[1], dtype=torch.bool)
        cov_loss += cov[off].pow(2).sum() / z.shape[1]
    return 25 * F.mse_loss(z1, z2) + 25 * std_loss + cov_loss


def simsiam_loss_func(solo: Solo, views: Views) -> Tensor:
    """`solo/losses/simsiam.py`, halved for either side as in `solo/methods/simsiam.py`."""
    assert solo.predictor is not None
    z1, z2 = (solo.projector(solo.backbone(view)) for view in views)
    p1, p2 = solo.predictor(z1), solo.predictor(z2)
    first = -F.cosine_similarity(p1, z2.detach(), dim=-1).mean()
    return first / 2 - F.cosine_similarity(p2, z1.detach(), dim=-1).mean() / 2


def sinkhorn_knopp(scores: Tensor) -> Tensor:
    """`solo/utils/sinkhorn_knopp.py` with epsilon 0.05 and three iterations."""
    q = torch.exp(scores / 0.05).t()
    prototypes, rows = q.shape
    q = q / q.sum()
    for _ in range(3):
        q = q / q.sum(dim=1, keepdim=True) / prototypes
        q = q / q.sum(dim=0, keepdim=True) / rows
    return (q * rows).t()


def swav_loss_func(solo: Solo, views: Views) -> Tensor:
    """`solo/losses/swav.py` and the training step of `solo/methods/swav.py`."""
    with torch.no_grad():
        solo.prototypes.weight.copy_(F.normalize(solo.prototypes.weight, dim=1))
    z = F.normalize(solo.projector(solo.backbone(torch.cat(views)))).chunk(2)
    preds = [solo.prototypes(view) for view in z]
    assignments = []
    for pred, queue in zip(preds, solo.queue, strict=True):
        full = bool(queue[-1].any())
        joined = torch.cat([pred, solo.prototypes(queue)]) if full else pred
        assignments.append(sinkhorn_knopp(joined.detach())[: len(pred)])
    solo.queue[:, BATCH:] = solo.queue[:, :-BATCH].clone()
    solo.queue[:, :BATCH] = torch.stack(z).detach()
    losses = [
        -(assignments[a] * (preds[b] / 0.1).log_softmax(dim=1)).sum(dim=1).mean()
        for a, b in ((0, 1), (1, 0))
    ]
    return (losses[0] + losses[1]) / 2


def train_ours(method: Method, recipe: AnyRecipe) -> list[float]:
    assert recipe.scratch is not None
    groups = method.parameter_groups(recipe.scratch)
    peak = recipe.scratch.learning_rate
    optimizer = build_optimizer(groups, recipe.optimizer, peak)
    losses = []
    for rate, views in zip(rates(peak), batches(), strict=True):
        set_learning_rate(optimizer, rate)
        optimizer.zero_grad()
        method.before_step(len(losses), epoch=0, training=recipe.scratch)
        loss = method(list(views)).loss
        loss.backward()
        method.after_backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_solo(
    solo: Solo,
    loss_of: Callable[[Solo, Views], Tensor],
    peak: float,
    update: Callable[..., None],
    frozen_steps: int = 0,
) -> list[float]:
    """Their loop; prototypes have no gradient for so many steps (`on_after_backward`)."""
    losses, buffers = [], {}
    trained = [p for p in solo.named_parameters() if p[1].requires_grad]
    for rate, views in zip(rates(peak), batches(), strict=True):
        solo.zero_grad()
        loss = loss_of(solo, views)
        loss.backward()
        with torch.no_grad():
            for name, p in trained:
                if name.startswith("prototypes") and len(losses) < frozen_steps:
                    continue
                buffer = buffers.setdefault(name, torch.zeros_like(p))
                update(name, p, buffer, rate)
        losses.append(loss.item())
    return losses


def lars(decay: float) -> Callable[..., None]:
    """eta 0.02, clip_lr, exclude_bias_n_norm, and this weight decay."""

    def update(name: str, p: Tensor, buffer: Tensor, rate: float) -> None:
        solo_learn_reference(p, buffer, rate, clip=True, exclude=True, trust=0.02, decay=decay)

    return update


def sgd(name: str, p: Tensor, buffer: Tensor, rate: float) -> None:
    """Weight decay 1e-5 on every parameter; `static_lr`: the predictor keeps the peak rate."""
    assert p.grad is not None
    buffer.mul_(0.9).add_(p.grad + 1e-5 * p)
    p.sub_((1.0 if name.startswith("predictor") else rate) * buffer)


def models(recipe: AnyRecipe) -> tuple[Method, Solo]:
    """Ours in float64, and one of the same weights for the re-typed loop."""
    torch.manual_seed(0)
    ours = build_method(recipe, BACKBONE).double()
    return ours, Solo(ours)


def test_vicreg_takes_solo_learns_steps() -> None:
    recipe = recipe_of("vicreg-200", projector=(24, 24, 24))
    ours, solo = models(recipe)
    expected = train_solo(solo, vicreg_loss_func, peak=0.3 * 512 / 256, update=lars(1e-4))
    assert train_ours(ours, recipe) == pytest.approx(expected, rel=1e-9)
    assert_equal_weights(ours, solo)


def test_simsiam_takes_solo_learns_steps() -> None:
    recipe = recipe_of("simsiam-200", projector=24, predictor=8)
    ours, solo = models(recipe)
    expected = train_solo(solo, simsiam_loss_func, peak=0.5 * 512 / 256, update=sgd)
    assert train_ours(ours, recipe) == pytest.approx(expected, rel=1e-7)
    assert_equal_weights(ours, solo)


def test_swav_takes_solo_learns_steps() -> None:
    schedule = load_experiment(CONFIG).recipe("swav-200").scratch
    assert schedule is not None
    schedule = schedule.model_copy(update={"freeze_prototypes_steps": 4, "queue_start_epoch": 0})
    small = {"projector": (24, 8), "prototypes": 20, "queue_length": 3 * BATCH}
    recipe = recipe_of("swav-200", scratch=schedule, **small)
    ours, solo = models(recipe)
    expected = train_solo(solo, swav_loss_func, 0.6 * 512 / 256, lars(1e-6), frozen_steps=4)
    assert train_ours(ours, recipe) == pytest.approx(expected, rel=1e-7)
    assert_equal_weights(ours, solo)


def assert_equal_weights(ours: Method, solo: Solo) -> None:
    expected = solo.state_dict()
    found = ours.state_dict()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-9, msg=name)
