"""How small a difference an experiment can detect, and how many trials one would need."""

from math import ceil, inf, log2, sqrt

from scipy import optimize, stats


def detectable_by_images(
    n: int, discordant: float, *, power: float = 0.8, significance: float = 0.05
) -> float:
    """Smallest difference of accuracy that McNemar's test on n images detects.

    Parameters
    ----------
    n : int
        Number of test images.
    discordant : float
        Expected fraction of discordant pairs, (n01 + n10) / n.
    power : float, default 0.8
        Probability of detection wanted, at least 0.5.
    significance : float, default 0.05
        Two-sided level of the test.

    Returns
    -------
    float
        Difference of the two accuracies, a fraction; infinite if not even the largest possible
        one, `discordant` itself, would be detected.

    Notes
    -----
    Solves ``sqrt(n) delta = z_alpha sqrt(psi) + z_beta sqrt(psi - delta**2)`` (Connor 1987), psi
    being the discordant fraction.

    References
    ----------
    Connor, Biometrics 43 (1987) 207-211.
    """
    _check(power, significance)
    if n < 1 or not 0 < discordant <= 1:
        raise ValueError(f"need n >= 1 and 0 < discordant <= 1, got {n} and {discordant}")
    z_alpha, z_beta = float(stats.norm.isf(significance / 2)), float(stats.norm.ppf(power))
    root = n + z_beta**2 - z_alpha**2
    if root < 0:
        return inf
    delta = sqrt(discordant) * (z_alpha * sqrt(n) + z_beta * sqrt(root)) / (n + z_beta**2)
    return delta if delta <= discordant else inf


def detectable_by_trials(
    trials: int, standard_deviation: float, *, power: float = 0.8, significance: float = 0.05
) -> float:
    """Smallest mean difference that a paired t-test over k trials detects.

    Parameters
    ----------
    trials : int
        Number of paired trials, at least 2.
    standard_deviation : float
        Standard deviation (ddof 1) over trials of the paired difference, in the metric's unit.
    power, significance : float
        As in :func:`detectable_by_images`.

    Returns
    -------
    float
        The difference, in the metric's unit.

    Notes
    -----
    Normal theory (noncentral t). The permutation test over trials cannot be significant at all
    with fewer than ``1 + log2(1 / significance)`` trials, 6 at 5 %.
    """
    _check(power, significance)
    if trials < 2 or not 0 < standard_deviation < inf:
        raise ValueError(
            f"need at least 2 trials and a positive deviation, got {trials}, {standard_deviation}"
        )
    highest = 1.0
    while _t_power(highest, trials, significance) < power:
        highest *= 2
    effect = optimize.brentq(
        lambda size: _t_power(size, trials, significance) - power, 0.0, highest, xtol=1e-12
    )
    return float(effect) * standard_deviation


def trials_needed(
    difference: float, standard_deviation: float, *, power: float = 0.8, significance: float = 0.05
) -> float:
    """Number of paired trials with which an observed effect would be detected.

    Parameters
    ----------
    difference : float
        Mean paired difference over trials.
    standard_deviation : float
        Standard deviation (ddof 1) over trials of the paired difference.
    power, significance : float
        As in :func:`detectable_by_images`.

    Returns
    -------
    float
        A whole number; infinite for no difference. At least as many as the permutation test over
        trials needs to reach `significance` (6 at 5 %).
    """
    _check(power, significance)
    if not (0 <= standard_deviation < inf and -inf < difference < inf):
        raise ValueError(f"not an effect: {difference} with deviation {standard_deviation}")
    if difference == 0:
        return inf
    fewest = max(2, 1 + ceil(log2(1 / significance) - 1e-12))
    if standard_deviation == 0:
        return float(fewest)
    effect = abs(difference) / standard_deviation
    low, high = fewest, fewest
    while _t_power(effect, high, significance) < power:
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        if _t_power(effect, middle, significance) < power:
            low = middle + 1
        else:
            high = middle
    return float(high)


def _t_power(effect: float, trials: int, significance: float) -> float:
    """Power of the two-sided one-sample t-test at mean / standard deviation = `effect`."""
    critical = float(stats.t.isf(significance / 2, trials - 1))
    shift = effect * sqrt(trials)
    detected = float(stats.nct.sf(critical, trials - 1, shift))
    # A significant mean of the wrong sign has a probability below 1e-6 from here on, where scipy's
    # lower tail turns into nan.
    if shift < 5:
        detected += float(stats.nct.cdf(-critical, trials - 1, shift))
    return detected


def _check(power: float, significance: float) -> None:
    if not (0.5 <= power < 1 and 0 < significance < 1):
        raise ValueError(
            f"power must be in [0.5, 1) and significance in (0, 1), got {power} and {significance}"
        )
