"""Steps that a scaler skips; float16 itself needs a GPU, its scaler does not."""

from pathlib import Path

import pytest
import torch

from e2mc.errors import E2MCError
from e2mc.training.distributed import Place
from e2mc.training.history import History
from e2mc.training.optim import momentum_of, set_learning_rate
from e2mc.training.run import Run, build_run
from e2mc.training.step import MOST_SKIPPED, loss_of, update
from tests.training.tiny import CRITERION, tiny_settings

PRECISION = torch.autocast("cpu", enabled=False)


@pytest.fixture(params=[None, CRITERION], ids=["base loss", "criterion"])
def scaled(images: Path, request: pytest.FixtureRequest) -> Run:
    """A run with a scaler, one step after its first."""
    run = build_run(tiny_settings(images, criterion=request.param), None, Place(0, 1, 0))
    run.scaler = torch.amp.GradScaler("cpu")
    set_learning_rate(run.optimizer, 0.1)
    do_step(run)
    return run


def do_step(run: Run, broken: bool = False) -> dict[str, torch.Tensor]:
    views = list(torch.randn(2, 8, 3, 8, 8, generator=torch.Generator().manual_seed(run.step)))
    if broken:
        views[1][3, 0, 2, 2] = torch.inf
    loss, values = loss_of(run, run.module, views, PRECISION, Path("state"))
    update(run, loss)
    return values


def learned(run: Run) -> dict[str, torch.Tensor]:
    weights = {name: weight.detach().clone() for name, weight in run.module.named_parameters()}
    momentum = momentum_of(run.optimizer, run.module)
    return weights | {f"momentum of {name}": buffer.clone() for name, buffer in momentum.items()}


def test_a_loss_that_is_not_finite_is_skipped_and_lowers_the_scale(scaled):
    before, scale = learned(scaled), scaled.scaler.get_scale()
    for skipped in (1, 2):
        assert do_step(scaled, broken=True) == {}
        assert (scaled.skipped, scaled.step) == (skipped, 1 + skipped)
        assert scaled.scaler.get_scale() == scale / 2**skipped
    assert all(torch.equal(weight, before[name]) for name, weight in learned(scaled).items())
    assert "loss" in do_step(scaled)
    assert scaled.skipped == 0
    after = learned(scaled)
    assert not any(torch.equal(after[name], before[name]) for name in before if "bias" not in name)


def test_more_in_a_row_are_an_error_that_names_the_terms(scaled):
    for _ in range(MOST_SKIPPED):
        do_step(scaled, broken=True)
    with pytest.raises(E2MCError, match=r"step 12: .*base loss nan.*float32 instead"):
        do_step(scaled, broken=True)


def test_infinite_gradients_alone_are_skipped_as_often(scaled):
    before = learned(scaled)
    weight = next(scaled.module.parameters())
    for _ in range(MOST_SKIPPED):
        update(scaled, (weight * torch.inf).sum())
    assert all(torch.equal(weight, before[name]) for name, weight in learned(scaled).items())
    with pytest.raises(E2MCError, match="step 12: in 11 steps in a row the gradient"):
        update(scaled, (weight * torch.inf).sum())


def test_means_of_an_epoch_leave_skipped_steps_out():
    history = History()
    for values in ({"loss": torch.tensor(1.0)}, {}, {"loss": torch.tensor(4.0)}):
        history.add(values, images=8, corrupt=1, seconds=0.5, waited=0.1)
    history.end_epoch(0.1)
    (row,) = history.rows
    assert (row["loss"], row["corrupt_images"]) == (2.5, 3)
    assert row["images_per_second"] == pytest.approx(16)
    history.add({}, images=8, corrupt=0, seconds=0.5, waited=0.1)
    with pytest.raises(E2MCError, match="epoch 2: the loss was finite in none of its steps"):
        history.end_epoch(0.1)
