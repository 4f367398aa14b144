"""Average precision as PASCAL VOC has computed it since 2010."""

import numpy as np
from numpy.typing import ArrayLike


def voc_average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """All-point interpolated average precision of one class.

    The precision at each recall is replaced by the best precision at that recall or a higher
    one, and the area under the result is summed over every change of recall: VOC2010's AP, as in
    VISSL ``svm_utils/evaluate.py``; neither the 11-point AP of VOC2007 nor scikit-learn's.
    Deviation: samples of equal score enter together, where VISSL lets an unstable sort order
    them, so the result does not depend on the order of the samples.

    Args:
        labels: shape (n,): 1 present, -1 absent, 0 difficult. Difficult samples are dropped.
        scores: shape (n,), higher for present.

    Returns:
        The area, in [0, 1].

    Raises:
        ValueError: if the shapes differ, a label is none of the three, a score is not finite, or
            no sample is present.
    """
    truth, ranking = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != ranking.shape:
        raise ValueError(f"labels {truth.shape} and scores {ranking.shape} must be equal vectors")
    if not np.isin(truth, (-1, 0, 1)).all():
        raise ValueError("labels may hold only 1 (present), -1 (absent) and 0 (difficult)")
    if not np.isfinite(ranking).all():
        raise ValueError(f"the score at position {np.argmin(np.isfinite(ranking))} is not finite")
    truth, ranking = truth[truth != 0], ranking[truth != 0]
    if not np.any(truth == 1):
        raise ValueError("no sample is labelled present (1): average precision is undefined")
    order = np.argsort(-ranking, kind="stable")
    last_of_tie = np.append(np.diff(ranking[order]) != 0, True)
    retrieved = np.flatnonzero(last_of_tie) + 1
    hits = np.cumsum(truth[order] == 1)[last_of_tie]
    envelope = np.maximum.accumulate((hits / retrieved)[::-1])[::-1]
    return float(np.diff(hits, prepend=0) @ envelope / hits[-1])
