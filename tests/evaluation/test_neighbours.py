import subprocess
import sys

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from e2mc.errors import E2MCError
from e2mc.evaluation.neighbours import knn_top1, neighbour_distances

SMALL_BLOCKS = 40_000
"""Bytes that cut the test's matrices into several blocks, the last one shorter."""


@pytest.fixture(scope="module")
def samples():
    return np.random.default_rng(1).normal(size=(230, 17))


def by_sklearn(x, ranks):
    distances, _ = (
        NearestNeighbors(n_neighbors=max(ranks) + 1, algorithm="brute")
        .fit(x.astype(np.float64))
        .kneighbors()
    )
    return distances[:, [rank - 1 for rank in ranks]]


@pytest.mark.parametrize("memory", [SMALL_BLOCKS, 2**30])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_distances_equal_sklearn(samples, dtype, memory):
    x, ranks = samples.astype(dtype), (1, 100, 7)
    distances = neighbour_distances(x, ranks, memory=memory)
    np.testing.assert_allclose(distances, by_sklearn(x, ranks), rtol=1e-12)


def test_distances_of_near_duplicates_far_from_the_origin_are_exact():
    rng = np.random.default_rng(2)
    x = 1000 + rng.normal(size=(60, 8))
    x[1] = x[0]
    x[3] = x[2] + np.array([1e-3, *[0] * 7])
    nearest = neighbour_distances(x, (1,), memory=10_000)[:, 0]
    brute = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    np.fill_diagonal(brute, np.inf)
    np.testing.assert_allclose(nearest, brute.min(axis=1), rtol=1e-12)
    assert nearest[0] == nearest[1] == 0
    assert nearest[2] == nearest[3] == pytest.approx(1e-3, rel=1e-9)


def test_distances_of_copies_do_not_count_the_sample_itself():
    x = np.ones((5, 3), dtype=np.float32)
    assert not neighbour_distances(x, (1, 4)).any()


def test_memory_stays_within_the_budget():
    """Resident memory grows by the blocks and the input, not by the 288 MB of all distances."""
    budget, script = (
        32 * 2**20,
        """
import resource, sys
import numpy as np
from e2mc.evaluation.neighbours import neighbour_distances
x = np.random.default_rng(0).normal(size=(6000, 64)).astype(np.float16)
neighbour_distances(x[:1000], memory=2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
neighbour_distances(x, memory=int(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
""",
    )
    command = [sys.executable, "-c", script, str(budget)]
    grown = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout) * 1024
    kept_neighbours = 6000 * 100 * 16
    assert grown < 1.5 * budget + 2 * kept_neighbours


@pytest.mark.parametrize("memory", [SMALL_BLOCKS, 2**30])
def test_vote_equals_sklearn_with_the_same_weights(samples, memory):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 7, size=len(samples))
    train_x, test_x, train_y, test_y = samples[:150], samples[150:], labels[:150], labels[150:]
    result = knn_top1(train_x, train_y, test_x, test_y, (1, 20, 150), memory=memory)
    for k in (1, 20, 150):
        reference = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / 0.07)
        ).fit(train_x, train_y)
        np.testing.assert_array_equal(result.predictions[k], reference.predict(test_x))
        assert result.top1[k] == reference.score(test_x, test_y)


def test_weights_decide_a_vote_that_numbers_would_not():
    train = np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    query, labels = np.array([[1.0, 0.1]]), np.array([1, 0, 0])
    assert knn_top1(train, labels, query, [1], (3,)).predictions[3] == [1]
    assert knn_top1(train, labels, query, [1], (3,), temperature=100).predictions[3] == [0]


def test_equal_votes_go_to_the_smallest_label():
    train = np.array([[1.0, 0.0], [1.0, 0.0]])
    result = knn_top1(train, np.array([4, 2]), train[:1], [2], (2,))
    assert result.predictions[2].tolist() == [2]
    assert result.top1 == {2: 1.0}


def test_half_precision_features_give_the_float32_answer(samples):
    labels = np.random.default_rng(3).integers(0, 3, size=len(samples))
    half = samples.astype(np.float16)
    a = knn_top1(half[:150], labels[:150], half[150:], labels[150:], (20,))
    single = half.astype(np.float32)
    b = knn_top1(single[:150], labels[:150], single[150:], labels[150:], (20,))
    np.testing.assert_array_equal(a.predictions[20], b.predictions[20])


def test_bad_input_is_named(samples):
    y = np.zeros(230, dtype=int)
    spoilt = samples.copy()
    spoilt[201, 4] = np.inf
    blank = samples.copy()
    blank[5] = 0
    for call, message in [
        (lambda: neighbour_distances(spoilt, memory=SMALL_BLOCKS), "row 201"),
        (lambda: neighbour_distances(samples, (230,)), "ranks 1 to 229"),
        (lambda: neighbour_distances(samples, (0,)), "ranks 1 to 229"),
        (lambda: neighbour_distances(samples[0]), "shape"),
        (lambda: neighbour_distances(samples, memory=10), "too few"),
        (lambda: knn_top1(samples, y, samples, y, (231,)), "between 1 and 230"),
        (lambda: knn_top1(blank, y, samples, y), "vector is zero"),
        (lambda: knn_top1(samples, y, spoilt, y), "row 201"),
        (lambda: knn_top1(samples, y[:9], samples, y), "train_y must be 230 integers"),
        (lambda: knn_top1(samples, y, samples, y - 1), "test_y holds a negative"),
        (lambda: knn_top1(samples, y, samples[:, :3], y), "17 dimensions and test_x 3"),
        (lambda: knn_top1(samples, y, samples, y, temperature=0), "temperature"),
    ]:
        with pytest.raises(E2MCError, match=message):
            call()
