import math

import numpy as np
import pytest
import scipy.stats
from scipy import stats

from e2mc.statistics import compare_trials, mean_and_standard_error, trial_interval


def test_mean_and_standard_error_equal_scipy():
    values = [54.1, 53.2, 53.9]
    result = mean_and_standard_error(values)
    assert result.mean == pytest.approx(np.mean(values))
    assert result.standard_error == pytest.approx(stats.sem(values))
    assert result.n == 3


def test_one_trial_has_no_standard_error():
    assert mean_and_standard_error([3]).mean == 3
    assert math.isnan(mean_and_standard_error([3]).standard_error)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_of_a_mean_equals_scipys_t_interval(confidence):
    values = [0.3, -0.2, 1.1]
    found = mean_and_standard_error(values)
    interval = trial_interval(*found, confidence=confidence)
    reference = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert interval == pytest.approx(tuple(reference))


def test_one_trial_has_no_interval_and_a_confidence_is_a_probability():
    assert all(math.isnan(end) for end in trial_interval(1.0, math.nan, 1))
    with pytest.raises(ValueError, match="between 0 and 1"):
        trial_interval(1.0, 0.1, 3, confidence=95)


@pytest.mark.parametrize("trials", [2, 3, 5, 9])
def test_pvalue_equals_scipys_exact_sign_flip(trials):
    rng = np.random.default_rng(trials)
    base = rng.normal(size=trials)
    model = base + rng.normal(0.5, size=trials)
    reference = stats.permutation_test(
        (model - base,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    result = compare_trials(base, model)
    assert result.permutation_pvalue == pytest.approx(reference.pvalue)
    assert result.difference == pytest.approx(np.mean(model - base))
    assert result.standard_error == pytest.approx(stats.sem(model - base))


@pytest.mark.parametrize(("trials", "smallest"), [(1, 1), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_smallest_reachable_pvalue_is_reached(trials, smallest):
    # Equal tenths add up differently in another order: rounding must not lose a tie.
    result = compare_trials(np.zeros(trials), np.full(trials, 0.1))
    assert result.smallest_pvalue == result.permutation_pvalue == smallest


def test_ties_by_rounding_count_as_ties():
    # |0.1 + 0.2 - 0.3| is 5e-17 in floating point, and as extreme as 0 in truth: p = 1.
    assert compare_trials([0, 0, 0], [0.1, 0.2, -0.3]).permutation_pvalue == 1


def test_no_difference():
    result = compare_trials([1, 2], [1, 2])
    assert (result.difference, result.permutation_pvalue) == (0, 1)


@pytest.mark.parametrize(
    ("base", "model", "message"),
    [
        ([1, 2, 3], [1, 2], "a trial is missing"),
        ([], [], "at least one trial"),
        ([1, math.nan], [1, 2], "not finite"),
        (np.zeros(21), np.ones(21), "use compare_scores"),
    ],
)
def test_refuses(base, model, message):
    with pytest.raises(ValueError, match=message):
        compare_trials(base, model)


def test_t_test_and_interval_are_scipys() -> None:
    rng = np.random.default_rng(3)
    base, model = rng.normal(50, 2, 6), rng.normal(51, 2, 6)
    found = compare_trials(base, model)
    assert found.t_pvalue == pytest.approx(scipy.stats.ttest_rel(model, base).pvalue)
    assert found.interval_low < found.difference < found.interval_high
    # BCa moves with the data and turns with their sign
    moved = compare_trials(base, model + 10)
    assert moved.interval_low == pytest.approx(found.interval_low + 10)
    percentile = scipy.stats.bootstrap(
        (model - base,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert [found.interval_low, found.interval_high] == pytest.approx(list(percentile), abs=0.3)
    two = compare_trials(base[:2], model[:2])
    assert np.isnan([two.interval_low, two.interval_high]).all()
    same = compare_trials([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert same.t_pvalue == 0 and np.isnan(same.interval_low)
    assert np.isnan(compare_trials([1.0], [2.0]).t_pvalue)
