import csv
import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from e2mc.config.evaluation import FewShot
from e2mc.config.settings import ProtocolSettings
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import open_features
from e2mc.evaluation.few_shot import classify, few_shot, labelled
from tests.evaluation.cached_features import CLASSES, clusters, write_features

SHOTS = (1, 4)


def features(samples, dim, seed=0, spread=2.0):
    """Three classes of features (samples, dim), none of length zero, and their labels."""
    x, y = clusters(samples, dim, 3, 1, seed, spread)
    return (x[0] + 0.05).astype(np.float16), y


@pytest.fixture
def indices(tmp_path):
    made = []
    for seed, (split, samples) in enumerate((("train", 60), ("test", 45))):
        x, y = features(samples, 8, seed)
        index = write_features(
            tmp_path / split, x[None], y, crops=["center"], split=split, dataset="flowers"
        )
        made.append(index)
    return made


def settings(**changes):
    return ProtocolSettings(protocol=FewShot(shots=SHOTS, **changes), seed=3)


def test_files_of_every_classifier_and_number_of_shots(indices, tmp_path):
    few_shot(settings(draws=4), *indices, tmp_path / "out")
    names = {f"flowers-{kind}-{shots}" for kind in ("linear", "knn") for shots in SHOTS}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in names:
        metrics = json.loads((tmp_path / "out" / name / "metrics.json").read_text())
        assert (metrics["protocol"], metrics["metric"]) == (name, "top-1")
        assert metrics["train_samples"] == 3 * int(name[-1])
        assert len(metrics["draws"]) == 4
        assert len(set(metrics["draws"])) > 1, "the draws differ"
        assert metrics["last"] == pytest.approx(np.mean(metrics["draws"]))
        with (tmp_path / "out" / name / "predictions.csv").open() as stream:
            lines = list(csv.DictReader(stream))
        right = [line["label"] == line["prediction"] for line in lines]
        assert 100 * np.mean(right) == pytest.approx(metrics["draws"][0])


def test_draws_are_balanced_nested_and_the_same_for_every_model(indices):
    train = open_features(indices[0])
    for draw in range(3):
        few, more = (labelled(train, shots, 7, draw) for shots in SHOTS)
        assert set(few) < set(more)
        assert np.bincount(train.labels[more]).tolist() == [4, 4, 4]
        assert labelled(train, 4, 7, draw).tolist() == more.tolist()
    drawn = {tuple(labelled(train, 4, seed, draw)) for seed in range(3) for draw in range(3)}
    assert len(drawn) == 9


def plain_logistic_regression(x, y, test_x, cost):
    """The objective of Tian et al.'s classifier, minimised from its formula."""
    x, test_x = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (x, test_x))

    def loss(flat):
        weight, bias = flat[:-3].reshape(3, -1), flat[-3:]
        errors = -log_softmax(x @ weight.T + bias, axis=1)[np.arange(len(y)), y].sum()
        return cost * errors + 0.5 * np.square(weight).sum()

    found = minimize(loss, np.zeros(3 * x.shape[1] + 3), tol=1e-10).x
    return test_x @ found[:-3].reshape(3, -1).T + found[-3:]


def test_the_linear_probe_minimises_the_penalised_likelihood():
    (x, y), (test_x, _) = features(30, 5, spread=1.5), features(200, 5, seed=2, spread=1.5)
    for cost in (0.1, 10.0):
        found = classify("linear", x, y, test_x, 1, FewShot(cost=cost))
        logits = plain_logistic_regression(x.astype(float), y, test_x.astype(float), cost)
        first, second = np.sort(logits, axis=1)[:, :-3:-1].T
        clear = first - second > 1e-3
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(found[clear], logits.argmax(axis=1)[clear])


def test_one_shot_neighbours_are_the_nearest_by_angle():
    (x, y), (test_x, _) = features(9, 6), features(50, 6, seed=4)
    rows = [int(np.flatnonzero(y == label)[0]) for label in range(3)]
    chosen = x[rows]
    unit, tested = (
        part.astype(float) / np.linalg.norm(part.astype(float), axis=1, keepdims=True)
        for part in (chosen, test_x)
    )
    expected = y[rows][(tested @ unit.T).argmax(axis=1)]
    found = classify("knn", chosen, y[rows], test_x, 1, FewShot())
    np.testing.assert_array_equal(found, expected)


def test_more_shots_than_images(indices, tmp_path):
    few = ProtocolSettings(protocol=FewShot(shots=(21,)), seed=0)
    with pytest.raises(E2MCError, match=rf"class {CLASSES[0]} has 20 training images.*shots"):
        few_shot(few, *indices, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_labels_per_image_are_refused(indices, tmp_path):
    x = clusters(6, 8, 3, 1)[0]
    labels = np.ones((6, 3), int)
    train = write_features(tmp_path / "m", x, labels, crops=["center"], dataset="flowers")
    test = write_features(
        tmp_path / "n", x, labels, crops=["center"], dataset="flowers", split="test"
    )
    with pytest.raises(E2MCError, match="several labels per image"):
        few_shot(settings(), train, test, tmp_path / "out")
