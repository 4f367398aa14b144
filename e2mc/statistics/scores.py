"""Two models by any paired score, such as the average precision of each class."""

from math import copysign, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

BLOCK_ELEMENTS = 2**22


class ScoreComparison(NamedTuple):
    """What paired scores of two models say about their mean difference.

    Attributes
    ----------
    n : int
        Number of pairs.
    difference : float
        Mean of model minus base.
    permutation_pvalue : float
        Two-sided Monte-Carlo sign-flip p-value, ``(b + 1) / (resamples + 1)``.
    cohens_d : float
        Mean over standard deviation (ddof 0, as in ``compare_paired``) of the differences.
    interval : tuple of float
        BCa bootstrap confidence interval of `difference` over the pairs.
    confidence : float
        Confidence level of `interval`.
    resamples : int
        Sign flips drawn, and bootstrap samples drawn.
    """

    n: int
    difference: float
    permutation_pvalue: float
    cohens_d: float
    interval: tuple[float, float]
    confidence: float
    resamples: int


def compare_scores(
    base: ArrayLike,
    model: ArrayLike,
    *,
    resamples: int = 9999,
    rng: np.random.Generator | int | None = 0,
    confidence: float = 0.95,
) -> ScoreComparison:
    """Compare two models by paired real-valued scores.

    Parameters
    ----------
    base, model : array_like, shape (n,), n >= 2
        A score per item (image, class), in the same order of items.
    resamples : int, default 9999
        Number of random sign flips and of bootstrap samples; the smallest reachable p-value is
        ``1 / (resamples + 1)``.
    rng : Generator, int or None, default 0
        Source of randomness. The fixed default makes a table come out the same every time.
    confidence : float, default 0.95
        Confidence level of the interval.

    Returns
    -------
    ScoreComparison

    Raises
    ------
    ValueError
        If the scores differ in number, are fewer than 2 or not finite, `resamples` is not
        positive, or `confidence` is not in (0, 1).

    Notes
    -----
    Counting the observed arrangement among the resamples, ``(b + 1) / (R + 1)``, keeps the test
    valid for every R (Phipson and Smyth 2010). Equal absolute differences are flipped together
    by one binomial draw, which has the same distribution: heavily tied scores cost little. For
    0/1 scores use ``compare_paired``, which is exact.

    The acceleration of BCa takes a jackknife over the pairs, whose cost grows as n squared. If all
    differences are equal there is no spread to resample and the interval is that point.

    References
    ----------
    Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39. Efron, JASA 82 (1987) 171-185.
    """
    differences = _as_differences(base, model)
    if resamples < 1:
        raise ValueError(f"resamples must be positive, got {resamples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    generator = np.random.default_rng(rng)
    mean, deviation = float(differences.mean()), float(differences.std())
    constant = bool(np.ptp(differences) == 0)
    effect = mean / deviation if not constant else (copysign(inf, mean) if mean else 0.0)
    return ScoreComparison(
        n=differences.size,
        difference=mean,
        permutation_pvalue=_sign_flip_pvalue(differences, resamples, generator),
        cohens_d=effect,
        interval=(mean, mean)
        if constant
        else _bca_interval(differences, resamples, generator, confidence),
        confidence=confidence,
        resamples=resamples,
    )


def _as_differences(base: ArrayLike, model: ArrayLike) -> NDArray[np.float64]:
    before, after = np.asarray(base, dtype=np.float64), np.asarray(model, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape or before.size < 2:
        raise ValueError(
            "base and model must be vectors of equally many scores, at least 2; got shapes "
            f"{before.shape} and {after.shape}"
        )
    for name, scores in (("base", before), ("model", after)):
        bad = np.flatnonzero(~np.isfinite(scores))
        if bad.size:
            raise ValueError(f"{name} holds a score that is not finite at position {bad[0]}")
    return after - before


def _sign_flip_pvalue(
    differences: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> float:
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if sizes.size == 0:
        return 1.0
    total = float(sizes @ counts)
    # Sums in another order differ by rounding; a tie with the observed sum must still count.
    threshold = abs(float(differences.sum())) - 1e-12 * total
    as_extreme = 0
    block = max(1, BLOCK_ELEMENTS // sizes.size)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        positive = rng.binomial(counts, 0.5, size=(rows, sizes.size))
        as_extreme += int(np.count_nonzero(np.abs(2 * (positive @ sizes) - total) >= threshold))
    return (as_extreme + 1) / (resamples + 1)


def _bca_interval(
    differences: NDArray[np.float64], resamples: int, rng: np.random.Generator, confidence: float
) -> tuple[float, float]:
    result = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, BLOCK_ELEMENTS // differences.size),
        confidence_level=confidence,
        method="BCa",
        rng=rng,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
