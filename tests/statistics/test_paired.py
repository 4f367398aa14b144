import math
from itertools import product

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar

from e2mc.statistics import compare_counts, compare_paired

RANDOM_CASES = [(n, seed) for n in (12, 60, 400) for seed in range(5)]


def correctness(n, seed):
    rng = np.random.default_rng(seed)
    return rng.random(n) < 0.6, rng.random(n) < 0.7


@pytest.mark.parametrize(("n", "seed"), RANDOM_CASES)
def test_equals_statsmodels(n, seed):
    base, model = correctness(n, seed)
    table = [[(base & model).sum(), (base & ~model).sum()], [(~base & model).sum(), 0]]
    result = compare_paired(base, model)
    plain = mcnemar(table, exact=False, correction=False)
    corrected = mcnemar(table, exact=False, correction=True)
    assert result.mcnemar_statistic == pytest.approx(plain.statistic, abs=1e-12)
    assert result.mcnemar_pvalue == pytest.approx(plain.pvalue, rel=1e-10)
    if result.gained != result.lost:
        assert result.mcnemar_corrected_statistic == pytest.approx(corrected.statistic, abs=1e-12)
        assert result.mcnemar_corrected_pvalue == pytest.approx(corrected.pvalue, rel=1e-10)
    assert result.mcnemar_exact_pvalue == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert (result.gained, result.lost) == (table[1][0], table[0][1])
    assert result.difference == pytest.approx(model.mean() - base.mean(), abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_permutation_pvalue_equals_scipys_exact_sign_flip(seed):
    base, model = correctness(16, seed)
    differences = model.astype(float) - base
    reference = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert compare_paired(base, model).permutation_pvalue == pytest.approx(reference.pvalue)


@pytest.mark.parametrize(("n", "seed"), RANDOM_CASES)
def test_cohens_d_is_mean_over_deviation_of_the_differences(n, seed):
    base, model = correctness(n, seed)
    differences = model.astype(float) - base
    result = compare_paired(base, model)
    assert result.cohens_d == pytest.approx(differences.mean() / differences.std())
    from_chi2 = math.sqrt(result.mcnemar_statistic / (n - result.mcnemar_statistic))
    assert abs(result.cohens_d) == pytest.approx(from_chi2)


# Table D.1 of the paper prints the difference, chi-square, both p-values and d for 50,000 images.
# The counts are integers that reproduce its chi-square; the difference of the 100 % row and its
# p-value 0.00363 are printed truncated, not rounded.
TABLE_D1 = [
    ("linear 1 %", 521, 2495, 0.010, 108.79, "<0.001", "<0.001", 0.05),
    ("linear 10 %", 125, 2977, 0.002, 5.25, "0.02", "0.02", 0.01),
    ("linear 100 %", 125, 1847, 0.002, 8.46, "0.003", "0.003", 0.01),
    ("semi-supervised 1 %", 308, 2002, 0.006, 47.38, "<0.001", "<0.001", 0.03),
    ("semi-supervised 10 %", 107, 945, 0.002, 12.12, "<0.001", "<0.001", 0.02),
]


def truncated(value, digits):
    return math.floor(value * 10**digits) / 10**digits


@pytest.mark.parametrize("row", TABLE_D1, ids=[row[0] for row in TABLE_D1])
def test_reproduces_the_published_rows(row):
    _, net, discordant, difference, chi2, permutation, mcnemar_p, d = row
    result = compare_counts(50_000, (discordant + net) // 2, (discordant - net) // 2)
    assert result.gained + result.lost == discordant
    assert truncated(result.difference, 3) == pytest.approx(difference)
    assert round(result.mcnemar_statistic, 2) == chi2
    assert round(result.cohens_d, 2) == d
    for printed, pvalue in [
        (permutation, result.permutation_pvalue),
        (mcnemar_p, result.mcnemar_pvalue),
    ]:
        if printed.startswith("<"):
            assert pvalue < float(printed[1:])
        else:
            assert truncated(pvalue, len(printed) - 2) == float(printed)
    low, high = result.interval
    assert 0 < low < result.difference < high


def test_no_discordant_pairs():
    result = compare_paired([1, 0, 1], [1, 0, 1])
    assert result.permutation_pvalue == result.mcnemar_pvalue == result.mcnemar_exact_pvalue == 1
    assert result.mcnemar_corrected_pvalue == 1
    assert result.mcnemar_statistic == result.mcnemar_corrected_statistic == result.cohens_d == 0
    assert math.isnan(result.odds_ratio)
    # The score test of difference t with no discordant pair is n t / (1 - t) = z^2.
    z2 = stats.norm.isf(0.025) ** 2
    assert result.interval == pytest.approx((-z2 / (3 + z2), z2 / (3 + z2)))


@pytest.mark.parametrize("sign", [1, -1])
def test_all_discordant_in_one_direction(sign):
    base, model = np.zeros(10, bool), np.ones(10, bool)
    result = compare_paired(base, model) if sign > 0 else compare_paired(model, base)
    assert result.cohens_d == sign * math.inf
    assert result.permutation_pvalue == 2**-9
    assert result.odds_ratio == (math.inf if sign > 0 else 0)
    # Only discordant pairs: the interval is Wilson's for the share of one kind, rescaled.
    wilson = stats.binomtest(10, 10).proportion_ci(method="wilson")
    expected = (2 * wilson.low - 1, 1.0) if sign > 0 else (-1.0, 1 - 2 * wilson.low)
    assert result.interval == pytest.approx(expected)


def test_balanced_discordant_pairs_are_no_evidence():
    result = compare_counts(20, 4, 4)
    assert result.permutation_pvalue == result.mcnemar_pvalue == 1
    assert result.mcnemar_corrected_statistic == 0
    assert result.interval[0] == pytest.approx(-result.interval[1])


def test_exchanging_the_models_changes_signs_only():
    base, model = correctness(60, 0)
    one, other = compare_paired(base, model), compare_paired(model, base)
    assert other.difference == -one.difference
    assert other.cohens_d == -one.cohens_d
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]))
    assert other.odds_ratio == pytest.approx(1 / one.odds_ratio)
    assert other.permutation_pvalue == one.permutation_pvalue


def test_interval_of_the_published_example():
    """Airway reactivity, Fagerland, Lydersen and Laake (Stat. Med. 2014), Tango's method."""
    assert compare_counts(21, 1, 7).interval == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("counts", [(21, 1, 7), (400, 31, 12), (50, 0, 3), (50_000, 1498, 979)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_inverts_the_score_test(counts, confidence):
    """At each end Pearson's chi-square against the likeliest table is the critical value.

    The score statistic of a multinomial model is Pearson's; here the likeliest table under a given
    difference is found numerically.
    """
    n, gained, lost = counts
    interval = compare_counts(n, gained, lost, confidence=confidence).interval
    observed = np.array([gained, lost, n - gained - lost])
    for delta in interval:
        fewest = max(0.0, -delta)

        def fitted(share, delta=delta):
            return np.array([share + delta, share, 1 - 2 * share - delta])

        def negative_likelihood(share, fitted=fitted):
            return -float(np.sum(observed * np.log(np.maximum(fitted(share), 1e-300))))

        best = optimize.minimize_scalar(
            negative_likelihood,
            bounds=(fewest, (1 - delta) / 2),
            method="bounded",
            options={"xatol": 1e-14},
        ).x
        expected = n * fitted(best)
        pearson = np.sum((observed - expected) ** 2 / np.maximum(expected, 1e-300))
        assert pearson == pytest.approx(stats.chi2.isf(1 - confidence, 1), rel=1e-3)


def test_interval_covers_as_promised():
    """Exact coverage over every table of 40 images stays close to 95 % (Tango 1998: 93 to 98)."""
    n, coverage = 40, []
    tables = [(b, c) for b, c in product(range(n + 1), repeat=2) if b + c <= n]
    intervals = [compare_counts(n, b, c).interval for b, c in tables]
    low, high = np.array(intervals).T
    counts = np.array([(b, c, n - b - c) for b, c in tables])
    for p_gained, p_lost in [(0.1, 0.1), (0.25, 0.1), (0.4, 0.2), (0.15, 0.3)]:
        weight = stats.multinomial.pmf(counts, n, [p_gained, p_lost, 1 - p_gained - p_lost])
        inside = (low <= p_gained - p_lost) & (p_gained - p_lost <= high)
        coverage.append(float(weight @ inside))
    assert min(coverage) > 0.93
    assert max(coverage) < 0.98


def test_ten_million_images():
    base, model = (np.zeros(10_000_000, bool) for _ in range(2))
    base[:400], model[:600] = True, True
    result = compare_paired(base, model)
    assert (result.n, result.gained, result.lost) == (10_000_000, 200, 0)
    assert result.permutation_pvalue == pytest.approx(2.0**-199)


@pytest.mark.parametrize(
    ("base", "model", "message"),
    [
        ([], [], "at least one image"),
        ([1, 0], [1], "2 images and model_correct has 1"),
        ([[1, 0]], [[1, 0]], "vector"),
        ([1, 2], [1, 0], "base_correct may hold only"),
        ([1, 0], [1.0, float("nan")], "model_correct may hold only"),
    ],
)
def test_refuses_what_is_not_correctness(base, model, message):
    with pytest.raises(ValueError, match=message):
        compare_paired(base, model)


@pytest.mark.parametrize("counts", [(0, 0, 0), (5, -1, 0), (5, 3, 3)])
def test_refuses_impossible_counts(counts):
    with pytest.raises(ValueError, match="cannot be counts"):
        compare_counts(*counts)


def test_refuses_impossible_confidence():
    with pytest.raises(ValueError, match="confidence"):
        compare_counts(5, 1, 1, confidence=95)
