"""Two classifiers on the same test images: tests, effect size and interval from two counts.

Everything about paired correctness follows from the number of images and the two kinds of
discordant pairs, so ten million images cost no more than counting them.
"""

from math import copysign, inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats


class PairedComparison(NamedTuple):
    """What two correctness vectors over the same images say about their difference.

    Attributes
    ----------
    n : int
        Number of images.
    difference : float
        Accuracy of the model minus accuracy of the base, a fraction in [-1, 1].
    gained : int
        Images that only the model classifies correctly (n01).
    lost : int
        Images that only the base classifies correctly (n10).
    permutation_pvalue : float
        Exact two-sided sign-flip permutation p-value of the mean difference.
    mcnemar_statistic : float
        ``(n01 - n10)**2 / (n01 + n10)``, without continuity correction; 0 where no pair is
        discordant.
    mcnemar_pvalue : float
        Its upper tail under chi-square with one degree of freedom.
    mcnemar_corrected_statistic : float
        ``max(|n01 - n10| - 1, 0)**2 / (n01 + n10)``.
    mcnemar_corrected_pvalue : float
        Its upper tail under chi-square with one degree of freedom.
    mcnemar_exact_pvalue : float
        Two-sided binomial test of n01 among the discordant pairs. The same number as
        `permutation_pvalue` (see Notes of :func:`compare_counts`).
    cohens_d : float
        Paired Cohen's d: mean over standard deviation (ddof 0) of the per-image differences.
    odds_ratio : float
        Conditional odds ratio n01 / n10; infinite if n10 = 0, nan if no pair is discordant.
    interval : tuple of float
        Tango's score confidence interval of `difference`.
    confidence : float
        Confidence level of `interval`.
    """

    n: int
    difference: float
    gained: int
    lost: int
    permutation_pvalue: float
    mcnemar_statistic: float
    mcnemar_pvalue: float
    mcnemar_corrected_statistic: float
    mcnemar_corrected_pvalue: float
    mcnemar_exact_pvalue: float
    cohens_d: float
    odds_ratio: float
    interval: tuple[float, float]
    confidence: float


def compare_paired(
    base_correct: ArrayLike, model_correct: ArrayLike, *, confidence: float = 0.95
) -> PairedComparison:
    """Compare two classifiers image by image.

    Parameters
    ----------
    base_correct, model_correct : array_like of bool or of 0 and 1, shape (n,)
        Whether each image is classified correctly, in the same order of images.
    confidence : float, default 0.95
        Confidence level of the interval.

    Returns
    -------
    PairedComparison

    Raises
    ------
    ValueError
        If the vectors are empty, differ in length, are not one-dimensional or hold anything
        but correct (1, True) and wrong (0, False).

    See Also
    --------
    compare_counts : the same from the counts, with the formulas.
    """
    base = _as_correctness(base_correct, "base_correct")
    model = _as_correctness(model_correct, "model_correct")
    if base.shape != model.shape:
        raise ValueError(
            f"base_correct has {base.size} images and model_correct has {model.size}: "
            "both must describe the same images in the same order"
        )
    gained = int(np.count_nonzero(model & ~base))
    lost = int(np.count_nonzero(base & ~model))
    return compare_counts(base.size, gained, lost, confidence=confidence)


def compare_counts(n: int, gained: int, lost: int, *, confidence: float = 0.95) -> PairedComparison:
    """Compare two classifiers from the number of images and of discordant pairs.

    Parameters
    ----------
    n : int
        Number of images, at least 1.
    gained, lost : int
        Images that only the model, and that only the base classifies correctly.
    confidence : float, default 0.95
        Confidence level of the interval.

    Returns
    -------
    PairedComparison

    Raises
    ------
    ValueError
        If a count is negative, the discordant pairs exceed `n`, or `confidence` is not in (0, 1).

    Notes
    -----
    Under the sign-flip permutation of paired differences a concordant image contributes 0
    whatever its sign, so the mean difference depends on the flips of the discordant images
    alone and the permutation distribution is binomial(n01 + n10, 1/2): the permutation test *is*
    the exact McNemar test, with no resampling and no seed.

    Cohen's d equals ``sqrt(chi2 / (n - chi2))`` with the sign of the difference, chi2 being
    `mcnemar_statistic`; the five rows of the paper's Table D.1 obey it. With ddof 1 it would be
    smaller by the factor ``sqrt(1 - 1 / n)``. It is infinite if every image is discordant in
    the same direction.

    McNemar's corrected statistic is clipped at 0, as R's ``mcnemar.test`` does in effect;
    statsmodels gives 1 / (n01 + n10) for n01 = n10.

    References
    ----------
    McNemar, Psychometrika 12 (1947) 153-157. Tango, Statistics in Medicine 17 (1998) 891-908.
    """
    if n < 1 or gained < 0 or lost < 0 or gained + lost > n:
        raise ValueError(
            f"n={n}, gained={gained}, lost={lost} cannot be counts of one set of images: "
            "n must be positive and gained + lost at most n"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    net, discordant = gained - lost, gained + lost
    statistic = net**2 / discordant if discordant else 0.0
    corrected = max(abs(net) - 1, 0) ** 2 / discordant if discordant else 0.0
    exact = float(stats.binomtest(gained, discordant).pvalue) if discordant else 1.0
    return PairedComparison(
        n=n,
        difference=net / n,
        gained=gained,
        lost=lost,
        permutation_pvalue=exact,
        mcnemar_statistic=statistic,
        mcnemar_pvalue=float(stats.chi2.sf(statistic, 1)),
        mcnemar_corrected_statistic=corrected,
        mcnemar_corrected_pvalue=float(stats.chi2.sf(corrected, 1)),
        mcnemar_exact_pvalue=exact,
        cohens_d=copysign(sqrt(statistic / (n - statistic)), net)
        if statistic < n
        else copysign(inf, net),
        odds_ratio=(gained / lost if lost else inf) if discordant else nan,
        interval=_tango_interval(n, gained, lost, confidence),
        confidence=confidence,
    )


def _tango_interval(n: int, gained: int, lost: int, confidence: float) -> tuple[float, float]:
    """Differences that the two-sided score test at level 1 - confidence does not reject."""
    z = float(stats.norm.isf((1 - confidence) / 2))
    estimate = (gained - lost) / n

    def excess(delta: float, bound: float) -> float:
        return (gained - lost - n * delta) - bound * sqrt(
            n * _null_variance(delta, n, gained, lost)
        )

    # Without discordant pairs, or with all of one kind, the estimate itself is a spurious root.
    step = 1e-12
    lower = upper = estimate
    if estimate > -1:
        lower = float(optimize.brentq(excess, -1, estimate - step, args=(z,), xtol=1e-15))
    if estimate < 1:
        upper = float(optimize.brentq(excess, estimate + step, 1, args=(-z,), xtol=1e-15))
    return lower, upper


def _null_variance(delta: float, n: int, gained: int, lost: int) -> float:
    """Variance of one image's difference under the likeliest table whose difference is `delta`."""
    half_linear = ((2 * n - gained + lost) * delta - gained - lost) / 2
    constant = -lost * delta * (1 - delta)
    lost_share = (sqrt(max(half_linear**2 - 2 * n * constant, 0.0)) - half_linear) / (2 * n)
    return max(2 * lost_share + delta * (1 - delta), 0.0)


def _as_correctness(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a vector of at least one image, got shape {array.shape}")
    if array.dtype == np.bool_:
        return array
    correct = array == 1
    if not np.all(correct | (array == 0)):
        raise ValueError(f"{name} may hold only 1 or True (correct) and 0 or False (wrong)")
    return np.asarray(correct, dtype=np.bool_)
