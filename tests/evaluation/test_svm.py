import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from e2mc.errors import E2MCError
from e2mc.evaluation.svm import svm_average_precision
from e2mc.statistics.average_precision import voc_average_precision

COSTS = (1e-3, 0.1, 1.0, 30.0)


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(5)
    x = np.maximum(rng.normal(size=(240, 20)), 0)
    latent = x @ rng.normal(size=(20, 3)) + rng.normal(size=(240, 3))
    y = np.where(latent > np.quantile(latent, 0.7, axis=0), 1, -1)
    y[rng.random(y.shape) < 0.05] = 0
    return x[:120], y[:120], x[120:], y[120:]


def vissl_precision(targets, scores):
    """VISSL's loop (evaluate.py), re-typed: valid without ties."""
    hits = (targets[np.argsort(scores)[::-1]] > 0).astype(float)
    precision = [0.0, *(np.cumsum(hits) / np.arange(1, len(hits) + 1)), 0.0]
    recall = [0.0, *(np.cumsum(hits) / hits.sum()), 1.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def test_average_precision_equals_the_reference_loop():
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = np.where(rng.random(30) < 0.4, 1, -1)
        labels[0] = 1
        scores = rng.normal(size=30)
        expected = vissl_precision(labels, scores)
        assert voc_average_precision(labels, scores) == pytest.approx(expected, abs=1e-14)


def test_average_precision_by_hand():
    # Ranking + - + -: precision 1 and 2/3 at recall 1/2 and 1.
    assert voc_average_precision([1, -1, 1, -1], [4, 3, 2, 1]) == pytest.approx(5 / 6)
    # - + +: precision 1/2 then 2/3, which the envelope gives to both recalls.
    assert voc_average_precision([-1, 1, 1], [3, 2, 1]) == pytest.approx(2 / 3)
    assert voc_average_precision([1, 0, 1, 0], [4, 9, 2, 3]) == 1.0


def test_average_precision_of_ties_is_their_share_in_any_order():
    labels, scores = np.array([1, -1, -1, 1, -1]), np.zeros(5)
    for shift in range(5):
        assert voc_average_precision(np.roll(labels, shift), scores) == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, -1], [1.0], "equal vectors"),
        ([1, 2], [1.0, 2.0], "labels may hold"),
        ([1, -1], [1.0, np.nan], "position 1"),
        ([0, -1], [1.0, 2.0], "no sample is labelled present"),
    ],
)
def test_average_precision_refuses(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        voc_average_precision(labels, scores)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_protocol_equals_sklearn_step_by_step(scene):
    train_x, train_y, test_x, test_y = scene
    result = svm_average_precision(*scene, COSTS, seed=3)
    unit = [x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5) for x in (train_x, test_x)]
    for c in range(3):
        target = np.where(train_y[:, c] == 1, 1, -1)
        models = [
            LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual=True, max_iter=2000, random_state=3)
            for cost in COSTS
        ]
        validation = [
            cross_val_score(m, unit[0], target, cv=3, scoring="average_precision").mean()
            for m in models
        ]
        np.testing.assert_allclose(result.cross_validation[c], validation, atol=1e-12)
        best = int(np.argmax(validation))
        scores = models[best].fit(unit[0], target).decision_function(unit[1])
        kept = test_y[:, c] != 0
        assert result.costs[c] == COSTS[best]
        np.testing.assert_allclose(result.scores[:, c], scores, atol=1e-12)
        assert result.average_precision[c] == pytest.approx(
            vissl_precision(test_y[kept, c], scores[kept]), abs=1e-12
        )
    assert result.mean_average_precision == pytest.approx(result.average_precision.mean())


def test_solution_is_the_optimum_of_the_weighted_squared_hinge(scene):
    """Against a general-purpose optimiser: double weight of positives, regularised bias."""
    train_x, train_y, test_x, _ = scene
    result = svm_average_precision(train_x, train_y[:, 0], *scene[2:3], scene[3][:, 0], [1.0])
    unit = [
        np.c_[x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5), np.ones(len(x))]
        for x in (train_x, test_x)
    ]
    target = np.where(train_y[:, 0] == 1, 1.0, -1.0)
    weight = np.where(target > 0, 2.0, 1.0)

    def objective(w):
        slack = np.maximum(0, 1 - target * (unit[0] @ w))
        return w @ w / 2 + weight @ slack**2, w - 2 * unit[0].T @ (weight * target * slack)

    optimum = minimize(objective, np.zeros(21), jac=True, options={"gtol": 1e-9}).x
    np.testing.assert_allclose(result.scores[:, 0], unit[1] @ optimum, atol=2e-3)
    assert result.average_precision[0] == pytest.approx(
        voc_average_precision(scene[3][:, 0], unit[1] @ optimum), abs=5e-5
    )


def test_difficult_is_negative_in_training_and_absent_from_testing(scene):
    train_x, train_y, test_x, test_y = scene
    result = svm_average_precision(*scene, COSTS)
    as_negative = svm_average_precision(
        train_x, np.where(train_y == 0, -1, train_y), test_x, test_y, COSTS
    )
    np.testing.assert_array_equal(result.scores, as_negative.scores)
    kept = test_y[:, 0] != 0
    alone = svm_average_precision(train_x, train_y[:, 0], test_x[kept], test_y[kept, 0], COSTS)
    assert alone.average_precision[0] == result.average_precision[0]


def test_same_result_for_any_number_of_processes(scene):
    one, two = (svm_average_precision(*scene, COSTS, jobs=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_first_of_equally_good_costs_is_chosen():
    x = np.repeat(np.eye(2), 10, axis=0)
    y = np.repeat([1, -1], 10)
    result = svm_average_precision(x, y, x, y, [0.5, 0.1, 1.0])
    assert result.costs.tolist() == [0.5]
    assert result.average_precision.tolist() == [1.0]


def test_unconverged_fits_are_counted_and_not_shouted(recwarn):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2)) + 100
    y = np.where(rng.random(60) < 0.5, 1, -1)
    assert svm_average_precision(x, y, x, y, [1e6]).unconverged > 0
    assert not [w for w in recwarn if "converge" in str(w.message)]


def test_bad_input_is_named(scene):
    train_x, train_y, test_x, test_y = scene
    spoilt = train_x.copy()
    spoilt[7, 3] = np.nan
    few = train_y.copy()
    few[:, 1] = -1
    few[:2, 1] = 1
    none = test_y.copy()
    none[:, 2] = np.minimum(none[:, 2], 0)
    names = ["cat", "dog", "hen"]
    cases = [
        ((spoilt, train_y, test_x, test_y), "training features are not finite in row 7"),
        ((train_x, few, test_x, test_y), "class dog: 2 of 120"),
        ((train_x, train_y, test_x, none), "class hen: no positive"),
        ((train_x, train_y[:9], test_x, test_y), "training labels have shape"),
        ((train_x, train_y * 2, test_x, test_y), "training labels may hold"),
        ((train_x, train_y, test_x[:, :9], test_y), "different backbones"),
    ]
    for arguments, message in cases:
        with pytest.raises(E2MCError, match=message):
            svm_average_precision(*arguments, COSTS, class_names=names)
    for costs in ([], [0.0], [float("nan")]):
        with pytest.raises(E2MCError, match="costs must be positive"):
            svm_average_precision(*scene, costs)


def test_scikit_learn_average_precision_is_another_number():
    labels, scores = np.array([-1, 1, 1]), np.array([3, 2, 1])
    assert average_precision_score(labels, scores) != pytest.approx(
        voc_average_precision(labels, scores), abs=1e-3
    )
