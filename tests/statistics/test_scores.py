import math

import numpy as np
import pytest
from scipy import stats

from e2mc.statistics import compare_paired, compare_scores, compare_trials


@pytest.fixture
def scores():
    rng = np.random.default_rng(4)
    base = rng.random(14)
    return base, base + rng.normal(0.03, 0.05, size=14)


def test_pvalue_approaches_full_enumeration(scores):
    exact = compare_trials(*scores).permutation_pvalue
    resamples = 200_000
    result = compare_scores(*scores, resamples=resamples)
    spread = math.sqrt(exact * (1 - exact) / resamples)
    assert result.permutation_pvalue == pytest.approx(exact, abs=5 * spread)


def test_pvalue_counts_the_observed_arrangement():
    # Forty differences of one sign: no random flip comes near, so b = 0.
    result = compare_scores(np.zeros(40), np.arange(1, 41), resamples=999)
    assert result.permutation_pvalue == 1 / 1000
    assert result.resamples == 999


def test_tied_differences_approach_the_exact_binomial():
    rng = np.random.default_rng(0)
    base, model = rng.random(300) < 0.6, rng.random(300) < 0.7
    exact = compare_paired(base, model)
    resamples = 100_000
    result = compare_scores(base, model, resamples=resamples, rng=1)
    p = exact.permutation_pvalue
    assert result.permutation_pvalue == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / resamples))
    assert result.cohens_d == pytest.approx(exact.cohens_d)


def test_uniform_under_the_null():
    rng = np.random.default_rng(8)
    pvalues = [
        compare_scores(*rng.normal(size=(2, 12)), resamples=199, rng=rng).permutation_pvalue
        for _ in range(300)
    ]
    assert stats.kstest(pvalues, "uniform").pvalue > 0.01


def test_interval_is_scipys_bca(scores):
    difference = scores[1] - scores[0]
    reference = stats.bootstrap(
        (difference,), np.mean, method="BCa", n_resamples=50_000, rng=np.random.default_rng(9)
    ).confidence_interval
    result = compare_scores(*scores, resamples=50_000)
    width = reference.high - reference.low
    assert result.interval == pytest.approx(tuple(reference), abs=0.02 * width)
    assert result.interval[0] < result.difference < result.interval[1]


def test_same_seed_same_numbers_and_generators_accepted(scores):
    assert compare_scores(*scores) == compare_scores(*scores)
    a, b = (compare_scores(*scores, rng=np.random.default_rng(3)) for _ in range(2))
    assert a == b
    assert compare_scores(*scores, rng=1) != compare_scores(*scores, rng=2)


def test_equal_scores_and_constant_shift():
    same = compare_scores([0.5, 0.7], [0.5, 0.7])
    assert (same.permutation_pvalue, same.cohens_d, same.interval) == (1, 0, (0, 0))
    shifted = compare_scores([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    assert shifted.cohens_d == math.inf
    assert shifted.interval == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1.0], [2.0]), {}, "at least 2"),
        (([1.0, 2.0], [1.0]), {}, "equally many"),
        (([1.0, 2.0], [1.0, math.nan]), {}, "model holds a score that is not finite at position 1"),
        (([1.0, 2.0], [1.0, 3.0]), {"resamples": 0}, "resamples"),
        (([1.0, 2.0], [1.0, 3.0]), {"confidence": 95}, "confidence"),
    ],
)
def test_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        compare_scores(*arguments, **options)
