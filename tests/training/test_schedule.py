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


@pytest.mark.parametrize(("floor", "peak"), [(0.0006, 0.6), (0.0003, 0.3)])
def test_a_cosine_to_a_floor_as_the_official_scripts(floor, peak):
    """SwAV's `final_value` and VICReg's `end_lr`, each re-typed."""
    options = {"schedule": "cosine", "epochs": 20, "warmup_epochs": 4}
    training = Training(learning_rate=peak, final_learning_rate=floor, **options)
    for epoch in (4, 7.25, 13, 20):
        progress = (epoch - 4) / 16
        swav = floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * progress))
        q = 0.5 * (1 + math.cos(math.pi * progress))
        vicreg = peak * q + floor * (1 - q)
        assert learning_rate(training, epoch, 20) == pytest.approx(swav, rel=1e-12)
        assert learning_rate(training, epoch, 20) == pytest.approx(vicreg, rel=1e-12)


def test_a_cosine_by_the_epoch_as_simsiams():
    training = Training(learning_rate=0.05, schedule="cosine", schedule_step="epoch", epochs=10)
    for epoch in range(10):
        expected = 0.05 * 0.5 * (1 + math.cos(math.pi * epoch / 10))
        for part in (0, 0.4, 0.99):
            assert learning_rate(training, epoch + part, 10) == pytest.approx(expected)
