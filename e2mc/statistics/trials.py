"""Variation over trials: the same comparison trained again with another seed."""

from math import nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit
from scipy.stats import bootstrap, t

MOST_TRIALS = 20


class MeanAndStandardError(NamedTuple):
    """Mean of n values and its standard error (ddof 1; nan for a single value)."""

    mean: float
    standard_error: float
    n: int


class TrialComparison(NamedTuple):
    """What k paired trials say about the difference of two models.

    Attributes
    ----------
    trials : int
        Number of paired trials, k.
    difference : float
        Mean over the trials of model minus base.
    standard_error : float
        Standard error of `difference` over the trials (ddof 1; nan for one trial).
    permutation_pvalue : float
        Exact two-sided sign-flip p-value, all 2**k flips enumerated.
    smallest_pvalue : float
        The smallest p-value that k trials can reach, 2**(1 - k): 0.25 for three. Print it
        beside `permutation_pvalue`.
    t_pvalue : float
        Two-sided p-value of the paired t-test, which assumes normal differences; nan for one
        trial or differences that are all equal and zero.
    interval_low, interval_high : float
        95 % bootstrap interval of `difference`, bias-corrected and accelerated (Efron 1987,
        `scipy.stats.bootstrap`, 9,999 resamples, seeded); nan below three trials or where all
        differences are equal. Of few trials it is too narrow: it resamples only those.
    """

    trials: int
    difference: float
    standard_error: float
    permutation_pvalue: float
    smallest_pvalue: float
    t_pvalue: float
    interval_low: float
    interval_high: float


def mean_and_standard_error(values: ArrayLike) -> MeanAndStandardError:
    """Mean and standard error of the mean, ``std(values, ddof=1) / sqrt(n)``.

    Parameters
    ----------
    values : array_like, shape (n,)
        One value per trial. The paper gives no ddof; 1 is the unbiased choice for few trials.

    Returns
    -------
    MeanAndStandardError

    Raises
    ------
    ValueError
        If there is no value, or one is not finite.
    """
    array = _as_trials(values, "values")
    error = float(array.std(ddof=1)) / sqrt(array.size) if array.size > 1 else nan
    return MeanAndStandardError(float(array.mean()), error, array.size)


def trial_interval(
    mean: float, standard_error: float, n: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Two-sided interval of a mean over trials from Student's t with n - 1 degrees of freedom.

    Parameters
    ----------
    mean, standard_error, n
        As :func:`mean_and_standard_error` gives them; of paired differences for a difference.
    confidence : float
        Probability of covering the mean of normally distributed values.

    Returns
    -------
    tuple of float
        Lower and upper end; nan below two trials.

    Raises
    ------
    ValueError
        If `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if n < 2:
        return nan, nan
    reach = float(stdtrit(n - 1, (1 + confidence) / 2)) * standard_error
    return mean - reach, mean + reach


def compare_trials(base: ArrayLike, model: ArrayLike) -> TrialComparison:
    """Compare two models over paired trials by exact sign-flip permutation.

    Parameters
    ----------
    base, model : array_like, shape (k,)
        One value per trial; element i of both comes from the same trial (seed).

    Returns
    -------
    TrialComparison

    Raises
    ------
    ValueError
        If the trials differ in number, there is none or more than 20 (use
        :func:`e2mc.statistics.compare_scores` then), or a value is not finite.

    Notes
    -----
    Flips whose sum equals the observed one up to rounding (1e-12 of the sum of absolute
    differences) count as ties, that is, against the null's rejection.
    """
    before, after = _as_trials(base, "base"), _as_trials(model, "model")
    if before.shape != after.shape:
        raise ValueError(
            f"base has {before.size} trials and model has {after.size}: a trial is missing"
        )
    if before.size > MOST_TRIALS:
        raise ValueError(
            f"{before.size} trials have too many sign flips to enumerate (at most {MOST_TRIALS}): "
            "use compare_scores"
        )
    differences = after - before
    sums = np.zeros(1)
    for value in differences:
        sums = np.concatenate([sums + value, sums - value])
    threshold = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    mean, error, trials = mean_and_standard_error(differences)
    return TrialComparison(
        trials=trials,
        difference=mean,
        standard_error=error,
        permutation_pvalue=float(np.mean(np.abs(sums) >= threshold)),
        smallest_pvalue=smallest_pvalue(trials),
        t_pvalue=_t_pvalue(mean, error, trials),
        **_interval(differences),
    )


def smallest_pvalue(trials: int) -> float:
    """What an exact two-sided sign-flip test over so many pairs can reach, ``2**(1 - trials)``."""
    return 2.0 ** (1 - trials)


def _t_pvalue(mean: float, error: float, trials: int) -> float:
    if trials < 2 or (mean == 0 and error == 0):
        return nan
    return 2 * float(t.sf(abs(mean) / error, trials - 1)) if error > 0 else 0.0


def _interval(differences: NDArray[np.float64]) -> dict[str, float]:
    if differences.size < 3 or np.ptp(differences) == 0:
        return {"interval_low": nan, "interval_high": nan}
    found = bootstrap((differences,), np.mean, method="BCa", rng=np.random.default_rng(0))
    low, high = found.confidence_interval
    return {"interval_low": float(low), "interval_high": float(high)}


def _as_trials(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a vector of at least one trial, got shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds a value that is not finite: {array.tolist()}")
    return array
