"""A method that keeps more than the optimizer changes."""

import copy
import math
import signal

import pytest
import torch

from e2mc.methods import VICReg
from e2mc.models import load_state
from e2mc.training import run
from e2mc.training.state import Interrupted
from tests.training.tiny import BACKBONE, RECIPES, tiny_settings, train


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
