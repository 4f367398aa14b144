"""Each kind of work is that of the stages, and counts what it has done."""

import itertools

import pytest
import torch

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.evaluation import speed
from e2mc.plan.work import total
from tests.doctor.conftest import demo

__all__ = ["demo"]

IMAGES = {"imagenet": (600, 400), "inat18": (600, 400), "voc07": (300, 300)}


def test_every_kind_of_the_experiments_work_is_measured(demo: Experiment) -> None:
    threads = torch.get_num_threads()
    found = speed.measure(demo, IMAGES, seconds=0.0)
    torch.set_num_threads(threads)
    training, evaluation = total(demo, IMAGES)
    assert set(found.rates) == {*training, *evaluation}
    assert min(found.rates.values()) > 0


def test_the_rate_is_work_by_time_without_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 0.5)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    steps = iter([1000, 30, 50, 70])
    assert speed._timed(steps, 1.0, torch.device("cpu")) == (30 + 50) / 1.0


def test_a_batch_that_does_not_fit_is_halved() -> None:
    asked = []

    def begin(halves: int) -> speed.Steps:
        asked.append(halves)
        if halves < 4:
            raise torch.OutOfMemoryError
        yield from itertools.repeat(1)

    assert speed._rate("work", begin, 0.0, torch.device("cpu")) > 0
    assert asked == [1, 2, 4]


def test_a_gpu_that_is_too_small_for_anything_is_said() -> None:
    def begin(halves: int) -> speed.Steps:
        raise torch.OutOfMemoryError
        yield

    with pytest.raises(E2MCError, match="pretrain vicreg: not even a small batch fits"):
        speed._rate("pretrain vicreg", begin, 0.0, torch.device("cpu"))
