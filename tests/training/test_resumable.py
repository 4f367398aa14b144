"""States written beside the training, and a method that keeps more than the optimizer changes."""

import copy
import math
import signal
from threading import Event

import pytest
import torch

from e2mc.config.settings import OnGPU
from e2mc.errors import E2MCError
from e2mc.methods.vicreg import VICReg
from e2mc.models import load_state
from e2mc.training import run, state
from e2mc.training.resumable import States, session
from e2mc.training.state import Interrupted, load_newest_state
from tests.training.tiny import BACKBONE, RECIPES, tiny_settings, train


class Counter:
    """A run whose weights are the number of its steps, changed in place."""

    def __init__(self) -> None:
        self.identity, self.step, self.processes = "counter", 0, [1]
        self.weights, self.rows = torch.zeros(3), [{"epoch": 0}]

    def state_dict(self) -> dict[str, object]:
        return vars(self)

    def load_state_dict(self, state: dict[str, object]) -> None:
        vars(self).update(state)

    def do_step(self) -> None:
        self.step += 1
        self.weights += 1
        self.rows[0]["epoch"] += 1


def test_a_training_goes_on_while_the_state_of_an_earlier_step_is_written(
    tmp_path, monkeypatch, save_every_step
):
    writable, save = Event(), state.save_state

    def slow(*arguments: object) -> None:
        assert writable.wait(60)
        save(*arguments)

    monkeypatch.setattr(state, "save_state", slow)
    counter = Counter()
    with session(tmp_path, OnGPU()) as here:
        counter.do_step()
        States(tmp_path, here).between_steps(counter, last=9)
        counter.do_step()
        assert load_newest_state(tmp_path) is None
        writable.set()
    step, written = load_newest_state(tmp_path)
    assert step == 1
    assert torch.equal(written["weights"], torch.ones(3)) and written["rows"] == [{"epoch": 1}]


@pytest.mark.parametrize("last", [2, 9], ids=["the last state", "the next state"])
def test_a_state_that_could_not_be_written_ends_the_training_at(
    tmp_path, monkeypatch, save_every_step, last
):
    def full(folder: object, step: int, payload: object) -> None:
        raise E2MCError(f"no space for step {step}")

    monkeypatch.setattr(state, "save_state", full)
    counter = Counter()
    with session(tmp_path, OnGPU()) as here:
        states = States(tmp_path, here)
        counter.do_step()
        states.between_steps(counter, last)
        counter.do_step()
        with pytest.raises(E2MCError, match="no space for step 1"):
            states.between_steps(counter, last)
        with pytest.raises(E2MCError, match="no space for step 9"):
            counter.step = 9
            States(tmp_path, here).between_steps(counter, last=9)


class WithTeacher(VICReg):
    """VICReg with a moving average of its projector, which follows it less and less."""

    def __init__(self, warned: tuple[int, ...] = ()) -> None:
        super().__init__(RECIPES["vicreg"], BACKBONE)
        self.teacher = copy.deepcopy(self.projector).requires_grad_(False)
        self.initial = {name: w.double() for name, w in self.projector.named_parameters()}
        self.warned = warned
        self.seen: list[tuple[int, int, dict[str, torch.Tensor]]] = []

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        weights = {name: w.clone() for name, w in self.projector.named_parameters()}
        self.seen.append((step, steps, weights))
        for name, mean in self.teacher.named_parameters():
            mean.lerp_(weights[name], share(step, steps))
        if step in self.warned:
            signal.raise_signal(signal.SIGUSR2)


def share(step: int, steps: int) -> float:
    """Of the new weights in the average (BYOL's cosine)."""
    return 0.1 * (1 + math.cos(math.pi * step / steps)) / 2


def test_a_teacher_follows_every_step_and_survives_a_resume(images, tmp_path, monkeypatch):
    settings, built, warned = tiny_settings(images), [], [(), (2,), (7,), ()]

    def build(*_: object) -> WithTeacher:
        built.append(WithTeacher(warned[len(built)]))
        return built[-1]

    monkeypatch.setattr(run, "build_method", build)
    whole = load_state(train(settings, tmp_path / "whole"))
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "stopped")
    stopped = load_state(train(settings, tmp_path / "stopped"))
    assert all(torch.equal(stopped[name], weight) for name, weight in whole.items())

    assert [seen[:2] for seen in built[0].seen] == [(step, 9) for step in range(1, 10)]
    assert [seen[0] for method in built[1:] for seen in method.seen] == list(range(1, 10))
    for name, mean in built[0].initial.items():
        for step, steps, weights in built[0].seen:
            mean = (1 - share(step, steps)) * mean + share(step, steps) * weights[name].double()
        torch.testing.assert_close(whole[f"teacher.{name}"].double(), mean, rtol=1e-5, atol=1e-6)
        assert not torch.equal(whole[f"teacher.{name}"], whole[f"projector.{name}"])
