"""Accuracy on subsets of classes and labels, on features whose answers are known."""

import csv
import json

import numpy as np
import pytest
from pydantic import ValidationError

from e2mc.config.evaluation import Subsets
from e2mc.config.settings import ProtocolSettings
from e2mc.errors import E2MCError
from e2mc.evaluation.subsets import subsets
from tests.evaluation.cached_features import write_features

CLASSES = tuple(f"n{number:02d}" for number in range(12))
GROUPS = {"low": CLASSES[:6], "high": CLASSES[6:]}


def circle(degrees):
    """A direction in the plane; the third coordinate makes no vector zero."""
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle), np.full_like(angle, 0.01)], axis=-1)


def write(folder, split, degrees, labels):
    return write_features(
        folder / split,
        circle(np.asarray(degrees, float))[None],
        np.asarray(labels),
        crops=["center"],
        split=split,
        classes=CLASSES,
    )


@pytest.fixture
def pairs(tmp_path):
    """Class c at 20 c degrees, but that classes 0 and 1 share their place: they are never told
    apart, all others always are.
    """
    places = np.where(np.arange(12) == 1, 0, 20 * np.arange(12))
    train = np.repeat(np.arange(12), 4)
    test = np.repeat(np.arange(12), 10)
    jitter = np.tile([-1.0, -0.5, 0.5, 1.0], 12)
    return (
        write(tmp_path, "train", places[train] + jitter, train),
        write(tmp_path, "test", places[test], test),
    )


def settings(**changes):
    given = {"classes": (3, 6), "shots": (1, 4), "draws": 5, "classifier": "knn", **changes}
    return ProtocolSettings(protocol=Subsets(**given), seed=3)


def run(pairs, folder, **changes):
    subsets(settings(**changes), *pairs, folder / "subsets")
    metrics = json.loads((folder / "subsets" / "metrics.json").read_text())
    return metrics, {(p["subset"], p["classes"], p["shots"]): p for p in metrics["points"]}


def test_accuracies_follow_from_which_classes_are_drawn(pairs, tmp_path):
    """All are right but half of the pair: 11 of 12 classes, and in a subset 100 or (n - 1) / n."""
    metrics, points = run(pairs, tmp_path, draws=20)
    assert set(points) == {("random", n, shots) for n in (3, 6, 12) for shots in (1, 4)}
    assert points["random", 12, 4]["top1"] == pytest.approx(100 * 11 / 12)
    for size in (3, 6):
        found = points["random", size, 1]["draws"]
        one_lost = pytest.approx(100 * (size - 1) / size)
        assert all(value == 100 or value == one_lost for value in found)
        together = np.mean([value < 100 for value in found])
        # both of two given classes are in a subset of n out of 12 with probability n(n-1)/132
        assert together == pytest.approx(size * (size - 1) / 132, abs=0.25)
        assert points["random", size, 1]["top1"] == pytest.approx(np.mean(found))
    assert metrics["last"] == pytest.approx(100 * 11 / 12)
    assert (metrics["protocol"], metrics["train_samples"]) == ("subsets", 48)
    with (tmp_path / "subsets" / "predictions.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    right = [line["label"] == line["prediction"] for line in lines]
    assert 100 * np.mean(right) == pytest.approx(metrics["draws"][0])
    assert metrics["last"] == pytest.approx(np.mean(metrics["draws"]))


def test_related_classes_and_coarse_labels(pairs, tmp_path):
    """Of six related classes all or none are of the lower group; its pair is one coarse class."""
    _, points = run(pairs, tmp_path, groups=GROUPS, draws=20)
    assert {key for key in points if key[0] != "random"} == {
        *(("related", size, shots) for size in (3, 6) for shots in (1, 4)),
        *(("coarse", 2, shots) for shots in (1, 4)),
    }
    found = points["related", 6, 4]["draws"]
    assert {round(value, 6) for value in found} == {100.0, round(100 * 5 / 6, 6)}
    assert points["coarse", 2, 4]["top1"] == 100


def test_linear_classifiers_tell_the_same_classes_apart(pairs, tmp_path):
    _, points = run(
        pairs, tmp_path, classifier="linear", cost=1000.0, draws=1, classes=(), shots=(4,)
    )
    assert points["random", 12, 4]["top1"] == pytest.approx(100 * 11 / 12)


def test_chance_where_features_say_nothing(tmp_path):
    rng = np.random.default_rng(0)
    train, test = np.repeat(np.arange(12), 5), np.repeat(np.arange(12), 200)
    pairs = (
        write(tmp_path, "train", rng.uniform(0, 360, 60), train),
        write(tmp_path, "test", rng.uniform(0, 360, 2400), test),
    )
    _, points = run(pairs, tmp_path, groups=GROUPS, draws=15)
    assert points["random", 3, 1]["top1"] == pytest.approx(100 / 3, abs=3)
    assert points["random", 12, 1]["top1"] == pytest.approx(100 / 12, abs=2)
    assert points["coarse", 2, 4]["top1"] == pytest.approx(50, abs=2)


def test_models_are_compared_on_the_same_draws(pairs, tmp_path):
    first, second = (run(pairs, tmp_path / name)[0]["points"] for name in ("one", "two"))
    assert first == second


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": (12,)}, "a subset of 12 classes, but there are 12"),
        ({"shots": (5,)}, "5 labelled images, but class n00 has 4"),
        ({"groups": {"one": ("n00", "n99"), "two": CLASSES[1:]}}, "n99: no class"),
    ],
)
def test_impossible_points_are_refused(pairs, tmp_path, changes, message):
    with pytest.raises(E2MCError, match=message):
        run(pairs, tmp_path, **changes)
    assert not (tmp_path / "subsets" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"one": ("n00",), "two": ("n00",)}, "n00 stands twice"),
        ({"one": CLASSES[:4]}, "groups hold 4 classes, too few for a subset of 6"),
    ],
)
def test_groups_are_checked_when_they_are_read(groups, message):
    with pytest.raises(ValidationError, match=message):
        settings(groups=groups)
