import math

import pytest

from e2mc.config.methods import Training
from e2mc.training.schedule import learning_rate


def test_constant():
    training = Training(learning_rate=0.3)
    assert {learning_rate(training, epoch, 10) for epoch in (0, 0.5, 9.99)} == {0.3}


def test_cosine_from_the_peak_to_zero():
    training = Training(learning_rate=0.3, schedule="cosine", epochs=10)
    assert learning_rate(training, 0, 10) == 0.3
    assert learning_rate(training, 5, 10) == pytest.approx(0.15)
    assert learning_rate(training, 10, 10) == pytest.approx(0, abs=1e-15)
    assert learning_rate(training, 10 / 3, 10) == pytest.approx(0.3 * 0.75)


def test_linear_warm_up_then_the_cosine_over_the_rest():
    training = Training(learning_rate=0.4, schedule="cosine", epochs=12, warmup_epochs=2)
    assert [learning_rate(training, e, 12) for e in (0, 0.5, 1)] == pytest.approx([0, 0.1, 0.2])
    assert learning_rate(training, 2, 12) == 0.4
    assert learning_rate(training, 7, 12) == pytest.approx(0.2)
    assert learning_rate(training, 4.5, 12) == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)))


def test_warm_up_before_a_constant_rate():
    training = Training(learning_rate=0.4, warmup_epochs=4)
    assert learning_rate(training, 3, 10) == pytest.approx(0.3)
    assert learning_rate(training, 4, 10) == 0.4
