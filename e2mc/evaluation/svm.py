"""One-versus-rest linear SVMs on frozen features, VISSL's protocol for VOC07 to the letter.

Read at facebookresearch/vissl, ``vissl/utils/svm_utils/svm_trainer.py``.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from e2mc.errors import E2MCError
from e2mc.statistics.average_precision import voc_average_precision

MAX_ITERATIONS = 2000
"""VISSL's ``max_iter``; a fit that reaches it is kept, as there, and counted."""

SMALL = 2**19
"""Feature values below which starting worker processes costs more than they save."""


class SVMResult(NamedTuple):
    """Outcome of the SVM protocol.

    Attributes:
        average_precision: shape (classes,), on the test split without its difficult objects.
        costs: shape (classes,), the cost that cross-validation chose for each class.
        scores: shape (test samples, classes), decision values.
        cross_validation: shape (classes, costs), mean average precision over the folds.
        unconverged: number of fits, of all, that stopped at 2,000 iterations.
    """

    average_precision: NDArray[np.float64]
    costs: NDArray[np.float64]
    scores: NDArray[np.float64]
    cross_validation: NDArray[np.float64]
    unconverged: int

    @property
    def mean_average_precision(self) -> float:
        """Unweighted mean over the classes (mAP)."""
        return float(self.average_precision.mean())


def svm_average_precision(
    train_x: ArrayLike,
    train_y: ArrayLike,
    test_x: ArrayLike,
    test_y: ArrayLike,
    costs: Sequence[float],
    folds: int = 3,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    jobs: int | None = None,
) -> SVMResult:
    """Train a squared-hinge linear SVM for each class and score it on the test split.

    Features become float64 and are divided by (L2 norm + 1e-5). For each class and cost the mean
    average precision (scikit-learn's) over stratified, unshuffled folds is taken; the best cost,
    the first of equals, is trained again on the whole training split. Difficult objects count
    as absent in training and are dropped in testing. Positives weigh twice, the bias is
    regularised.

    Deviation from VISSL: only the chosen cost is fitted on the whole training split (the others
    are never used there), and liblinear's random order of coordinates has a seed. Its generator is
    global to a process, so fits run side by side in processes: in threads, as VISSL runs them, the
    order and with it the fourth decimal of an average precision change from run to run.

    Args:
        train_x: features, shape (n, dim).
        train_y: labels, shape (n, classes), or (n,) for a single class: 1 present, -1 absent,
            0 difficult.
        test_x: features, shape (m, dim).
        test_y: labels, shape (m, classes) or (m,).
        costs: candidates for C; the paper's 23 run from 1e-6 to 1000.
        folds: number of cross-validation folds (3 in VISSL).
        seed: seed of liblinear's coordinate order; the result is the same for any `jobs`.
        class_names: names for the error messages; column numbers by default.
        jobs: worker processes; by default one for each core, or none where the problem is small.

    Raises:
        E2MCError: if shapes do not fit, a feature is not finite, a label is none of the three, or
            a class has too few positives or negatives for the folds or the test.
    """
    train_x, test_x = _normalised(train_x, "training"), _normalised(test_x, "test")
    train_y, test_y = _columns(train_y), _columns(test_y)
    names = [str(name) for name in class_names or range(train_y.shape[1])]
    _check(train_x, train_y, test_x, test_y, names, folds)
    if len(costs) == 0 or not all(0 < cost < np.inf for cost in costs):
        raise E2MCError(f"SVM costs must be positive numbers, got {list(costs)}")
    targets = np.where(train_y == 1, 1, -1).T
    jobs = jobs or (1 if train_x.size < SMALL else joblib.cpu_count())
    with joblib.Parallel(jobs) as parallel:
        paths = _cross_validate(parallel, train_x, targets, costs, folds, seed)
        validation = paths[..., 0].mean(axis=1)
        chosen = np.asarray(costs, dtype=np.float64)[validation.argmax(axis=1)]
        models = parallel(
            joblib.delayed(_fit)(train_x, target, cost, seed)
            for target, cost in zip(targets, chosen, strict=True)
        )
    scores = np.stack([model.decision_function(test_x) for model in models], axis=1)
    return SVMResult(
        average_precision=np.array(
            [voc_average_precision(y, s) for y, s in zip(test_y.T, scores.T, strict=True)]
        ),
        costs=chosen,
        scores=scores,
        cross_validation=validation,
        unconverged=int(paths[..., 1].sum()) + sum(map(_stopped_early, models)),
    )


def _fit(x: NDArray[np.float64], y: NDArray[np.int64], cost: float, seed: int) -> Any:
    model = LinearSVC(
        C=cost,
        class_weight={1: 2, -1: 1},
        intercept_scaling=1.0,
        penalty="l2",
        loss="squared_hinge",
        tol=1e-4,
        dual=True,
        max_iter=MAX_ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def _stopped_early(model: Any) -> bool:
    return bool(model.n_iter_ >= MAX_ITERATIONS)


def _cross_validate(
    parallel: joblib.Parallel,
    x: NDArray[np.float64],
    targets: NDArray[np.int64],
    costs: Sequence[float],
    folds: int,
    seed: int,
) -> NDArray[np.float64]:
    """What :func:`_fold_path` finds, shape (classes, folds, costs, 2)."""
    paths = parallel(
        joblib.delayed(_fold_path)(x, target, train, held_out, costs, seed)
        for target in targets
        for train, held_out in StratifiedKFold(folds).split(x, target)
    )
    return np.array(paths).reshape(len(targets), folds, len(costs), 2)


def _fold_path(
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    train: NDArray[np.int64],
    held_out: NDArray[np.int64],
    costs: Sequence[float],
    seed: int,
) -> list[tuple[float, bool]]:
    """Average precision on one fold, and whether the fit stopped early, for every cost.

    The fold is copied once for all costs: the copy takes as long as a fit at a small cost.
    """
    train_x, train_y, held_out_x, held_out_y = x[train], y[train], x[held_out], y[held_out]
    path = []
    for cost in costs:
        model = _fit(train_x, train_y, cost, seed)
        precision = average_precision_score(held_out_y, model.decision_function(held_out_x))
        path.append((float(precision), _stopped_early(model)))
    return path


def _normalised(features: ArrayLike, split: str) -> NDArray[np.float64]:
    x = np.ascontiguousarray(features, dtype=np.float64)
    if x.ndim != 2 or x.size == 0:
        raise E2MCError(f"{split} features must have shape (samples, dim), got {x.shape}")
    norms = np.linalg.norm(x, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms))
    if bad.size:
        raise E2MCError(f"{split} features are not finite in row {bad[0]} ({bad.size} rows in all)")
    return np.asarray(x / (norms + 1e-5)[:, None])


def _columns(labels: ArrayLike) -> NDArray[np.int64]:
    y = np.asarray(labels)
    return y[:, None] if y.ndim == 1 else y


def _check(
    train_x: NDArray[np.float64],
    train_y: NDArray[np.int64],
    test_x: NDArray[np.float64],
    test_y: NDArray[np.int64],
    names: Sequence[str],
    folds: int,
) -> None:
    for split, x, y in (("training", train_x, train_y), ("test", test_x, test_y)):
        if y.shape != (len(x), len(names)):
            raise E2MCError(
                f"{split} labels have shape {y.shape}, but there are {len(x)} samples and "
                f"{len(names)} classes"
            )
        if not np.isin(y, (-1, 0, 1)).all():
            raise E2MCError(f"{split} labels may hold only 1, -1 and 0 (difficult)")
    if train_x.shape[1] != test_x.shape[1]:
        raise E2MCError(
            f"training features have {train_x.shape[1]} dimensions and test features "
            f"{test_x.shape[1]}: they come from different backbones or layers"
        )
    for name, train, test in zip(names, train_y.T, test_y.T, strict=True):
        positives = int(np.count_nonzero(train == 1))
        if min(positives, train.size - positives) < folds:
            raise E2MCError(
                f"class {name}: {positives} of {train.size} training samples are positive; "
                f"{folds} folds need at least {folds} positives and {folds} negatives"
            )
        if not np.any(test == 1):
            raise E2MCError(f"class {name}: no positive sample in the test split")
