"""Paired comparison of two models, uncertainty over trials, families of tests, power.

Needs numpy and scipy alone. Two questions are kept apart, and each answer says which it is:

* would other *test images* (or classes) give the same answer? :func:`compare_paired` for
  per-image correctness, :func:`compare_scores` for any paired score;
* would other *trials* (training seeds) give it? :func:`compare_trials`,
  :func:`mean_and_standard_error`, :func:`trial_interval`.
"""

from e2mc.statistics.multiple import holm
from e2mc.statistics.paired import PairedComparison, compare_counts, compare_paired
from e2mc.statistics.power import detectable_by_images, detectable_by_trials, trials_needed
from e2mc.statistics.scores import ScoreComparison, compare_scores
from e2mc.statistics.trials import (
    MeanAndStandardError,
    TrialComparison,
    compare_trials,
    mean_and_standard_error,
    smallest_pvalue,
    trial_interval,
)

__all__ = [
    "MeanAndStandardError",
    "PairedComparison",
    "ScoreComparison",
    "TrialComparison",
    "compare_counts",
    "compare_paired",
    "compare_scores",
    "compare_trials",
    "detectable_by_images",
    "detectable_by_trials",
    "holm",
    "mean_and_standard_error",
    "smallest_pvalue",
    "trial_interval",
    "trials_needed",
]
