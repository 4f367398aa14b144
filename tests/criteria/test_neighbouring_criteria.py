"""MEC and CorInfoMax against the reference code, re-typed."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from e2mc.criteria import MEC, CorInfoMax
from e2mc.criteria.moving_average import MovingAverage


def reference_mec(p: Tensor, z: Tensor, inverse: float, order: int = 4) -> Tensor:
    c = F.normalize(p) @ F.normalize(z).T / inverse
    power, total = c, torch.zeros_like(c)
    for k in range(1, order + 1):
        power = power @ c if k > 1 else power
        total = total + (power / k if k % 2 else -power / k)
    return torch.trace(total)


@pytest.mark.parametrize(("n", "d"), [(16, 6), (6, 16)])
@pytest.mark.parametrize("order", [1, 2, 4, 5])
def test_mec_equals_the_reference(n: int, d: int, order: int) -> None:
    a, b = torch.randn(2, n, d, dtype=torch.float64)
    inverse = n * 64.0 / d
    symmetric = (reference_mec(a, b, inverse, order) + reference_mec(b, a, inverse, order)) / 2
    torch.testing.assert_close(MEC(order=order)([a, b]), -inverse * symmetric / n)


def test_mec_series_tends_to_the_log_determinant() -> None:
    a, b = F.normalize(torch.randn(2, 30, 8, dtype=torch.float64), dim=2)
    scale = 8 / (30 * 9.0)
    exact = torch.logdet(torch.eye(8, dtype=torch.float64) + scale * b.T @ a) / (scale * 30)
    value = MEC(order=60, distortion=9.0).terms([a, b])["coding_length"]
    torch.testing.assert_close(value, exact)


def test_mec_averages_pairs_and_warms_up_as_the_reference() -> None:
    a, b, c = torch.randn(3, 10, 4, dtype=torch.float64)
    criterion = MEC()
    pairs = torch.stack([criterion([a, b]), criterion([a, c]), criterion([b, c])])
    torch.testing.assert_close(criterion([a, b, c]), pairs.mean())

    warming = MEC(warmup_steps=2)
    inverse = 10 * 64.0 / 4
    for factor in (8.0, 4.5, 1.0, 1.0):
        expected = -factor * inverse * reference_mec(a, b, factor * inverse) / 10
        torch.testing.assert_close(warming([a, b]), expected)
    resumed = MEC(warmup_steps=2)
    resumed.load_state_dict(warming.state_dict())
    assert torch.equal(resumed([a, b]), warming([a, b]))
    assert int(warming.eval().step) == int(resumed.step)


class ReferenceCorInfoMax:
    """CovarianceLossv2 with rows normalised beforehand, and its invariance."""

    def __init__(self, d: int, forgetting: float) -> None:
        self.forgetting = forgetting
        self.r = [torch.eye(d, dtype=torch.float64)] * 2
        self.mu = [torch.zeros(d, dtype=torch.float64)] * 2

    def __call__(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros((), dtype=torch.float64)
        unit = [F.normalize(z) for z in views]
        for i, z in enumerate(unit):
            n, d = z.shape
            mu = self.forgetting * self.mu[i] + (1 - self.forgetting) * z.mean(0)
            update = (z - mu).T @ (z - mu) / n
            r = self.forgetting * self.r[i] + (1 - self.forgetting) * update
            total = total - torch.logdet(r + 1e-8 * torch.eye(d)) / d
            self.r[i], self.mu[i] = r.detach(), mu.detach()
        return total, F.mse_loss(unit[0], unit[1])


def test_corinfomax_equals_the_reference_over_steps_and_resumes_exactly() -> None:
    reference = ReferenceCorInfoMax(5, 0.3)
    addon, full = CorInfoMax(forgetting=0.3), CorInfoMax(forgetting=0.3, invariance_weight=50.0)
    for step in range(4):
        views = [torch.randn(12, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        log_determinant, invariance = reference(*views)
        loss = addon(views)
        torch.testing.assert_close(loss, log_determinant)
        torch.testing.assert_close(full(views), log_determinant + 50 * invariance)
        expected = torch.autograd.grad(log_determinant, views)
        for one, other in zip(torch.autograd.grad(loss, views), expected, strict=True):
            torch.testing.assert_close(one, other)
        if step == 1:
            resumed = CorInfoMax(forgetting=0.3)
            resumed.load_state_dict(addon.state_dict())
            addon = resumed


def test_corinfomax_in_evaluation_mode_keeps_its_averages() -> None:
    criterion = CorInfoMax(invariance_weight=1.0)
    views = list(torch.randn(2, 9, 4))
    criterion(views)
    criterion.eval()
    before = {name: value.clone() for name, value in criterion.state_dict().items()}
    assert torch.equal(criterion(views), criterion(views))
    assert before.keys() == criterion.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in criterion.state_dict().items())
    with pytest.raises(ValueError, match="moving average"):
        criterion(list(torch.randn(2, 9, 3)))


def test_a_refused_batch_leaves_no_memory() -> None:
    criterion = CorInfoMax(invariance_weight=1.0)
    with pytest.raises(ValueError, match="needs two views"):
        criterion([torch.randn(9, 4)])
    assert criterion.mean.past is None


def test_a_memory_loaded_on_another_device_follows_the_embeddings() -> None:
    average = MovingAverage(0.5)
    average(torch.ones(3), torch.zeros(3))
    elsewhere = torch.ones(3, device="meta")
    assert average(elsewhere, elsewhere).is_meta
    assert average.past is not None
    assert average.past.is_meta


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (MEC, {"weight": -1.0}, "weight"),
        (MEC, {"order": 0}, "order"),
        (MEC, {"distortion": 0.0}, "distortion"),
        (MEC, {"warmup_steps": -1}, "warmup_steps"),
        (CorInfoMax, {"weight": -1.0}, "weight"),
        (CorInfoMax, {"forgetting": 1.0}, "forgetting"),
        (CorInfoMax, {"invariance_weight": -1.0}, "invariance_weight"),
        (CorInfoMax, {"epsilon": 0.0}, "epsilon"),
    ],
)
def test_refuses(kind: type, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
