import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from e2mc.statistics import (
    compare_trials,
    detectable_by_images,
    detectable_by_trials,
    trials_needed,
)


@pytest.mark.parametrize(("n", "discordant", "power"), [(500, 0.1, 0.8), (2000, 0.05, 0.9)])
def test_images_detect_as_often_as_promised(n, discordant, power):
    """Power of McNemar's test by summing over every table, at the difference returned."""
    delta = detectable_by_images(n, discordant, power=power)
    count = np.arange(n + 1)[:, None]
    gained = np.arange(n + 1)[None, :]
    critical = stats.chi2.isf(0.05, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rejects = (2 * gained - count) ** 2 / count > critical
    given_count = stats.binom.pmf(gained, count, (discordant + delta) / (2 * discordant))
    reached = stats.binom.pmf(count[:, 0], n, discordant) @ np.sum(given_count * rejects, axis=1)
    assert reached == pytest.approx(power, abs=0.02)


def test_images_at_the_size_of_imagenet():
    # 50,000 images of which 5 % disagree, as in Table D.1's first row: 0.28 points.
    assert detectable_by_images(50_000, 0.05) == pytest.approx(0.0028, abs=5e-5)
    assert detectable_by_images(200_000, 0.05) < detectable_by_images(50_000, 0.05)


def test_too_few_discordant_images_detect_nothing():
    assert detectable_by_images(10, 0.1) == math.inf
    assert detectable_by_images(2, 1.0) == math.inf


@pytest.mark.parametrize("trials", [2, 3, 6, 20])
def test_trials_equal_statsmodels(trials):
    reference = TTestPower().solve_power(nobs=trials, alpha=0.05, power=0.8)
    assert detectable_by_trials(trials, 0.1) == pytest.approx(0.1 * reference, rel=1e-5)


@pytest.mark.parametrize("effect", [0.2, 0.5, 0.9])
def test_trials_needed_equal_statsmodels(effect):
    reference = TTestPower().solve_power(effect_size=effect, alpha=0.05, power=0.8)
    assert trials_needed(-effect, 1.0) == math.ceil(reference)


def test_trials_needed_is_enough_and_one_fewer_is_not():
    needed = int(trials_needed(0.5, 1.0))
    assert detectable_by_trials(needed, 1.0) <= 0.5 < detectable_by_trials(needed - 1, 1.0)


@pytest.mark.parametrize("significance", [0.25, 0.05, 0.01])
def test_never_fewer_trials_than_the_permutation_test_needs(significance):
    for deviation in (0.0, 1e-6):
        needed = int(trials_needed(1.0, deviation, significance=significance))
        assert compare_trials(np.zeros(needed), np.ones(needed)).smallest_pvalue <= significance
        assert compare_trials([0] * (needed - 1), [1] * (needed - 1)).smallest_pvalue > significance


def test_no_effect_needs_infinitely_many():
    assert trials_needed(0.0, 1.0) == math.inf


@pytest.mark.parametrize(
    "call",
    [
        lambda: detectable_by_images(0, 0.1),
        lambda: detectable_by_images(10, 0.0),
        lambda: detectable_by_images(10, 0.1, power=1.0),
        lambda: detectable_by_trials(1, 0.1),
        lambda: detectable_by_trials(3, math.nan),
        lambda: trials_needed(math.nan, 1.0),
        lambda: trials_needed(1.0, 1.0, significance=5),
    ],
)
def test_refuses(call):
    with pytest.raises(ValueError):
        call()
