import csv
import json

import numpy as np
import pytest

from e2mc.config.fits import LinearFit
from e2mc.config.settings import LinearSettings
from e2mc.errors import E2MCError
from e2mc.evaluation.linear import linear
from e2mc.evaluation.probe import Head, fit_heads
from tests.evaluation.cached_features import CLASSES, clusters, write_features

EPOCHS = 6


@pytest.fixture
def folder(tmp_path):
    x, y = clusters(60, 8, 3, 3, spread=2.0)
    write_features(tmp_path / "train", x, y, crops=["random"] * 3, shards=4)
    test_x, test_y = clusters(30, 8, 3, 1, seed=1, spread=2.0)
    write_features(tmp_path / "test", test_x, test_y, crops=["center"], split="test")
    (tmp_path / "10.txt").write_text("".join(f"image_{i}.JPEG\n" for i in (17, 3, 40, 5, 9, 33)))
    return tmp_path


def settings(folder, **changes):
    fit = LinearFit(learning_rate=0.1, batch_size=16, epochs=EPOCHS)
    content = {
        "fits": {10: fit, 100: fit},
        "views": {10: 3, 100: 3},
        "lists": {10: folder / "10.txt"},
        "precision": "float32",
        "seed": 4,
    }
    return LinearSettings(**{**content, **changes})


def run(folder, **changes):
    indices = [folder / split / "index.json" for split in ("train", "test")]
    linear(settings(folder, **changes), *indices, folder / "evaluate")
    return folder / "evaluate"


def read(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_files_agree_with_each_other_and_with_the_probe(folder):
    output = run(folder)
    assert sorted(path.name for path in output.iterdir()) == ["linear-10", "linear-100"]
    for percent, samples in ((10, 6), (100, 60)):
        metrics = json.loads((output / f"linear-{percent}" / "metrics.json").read_text())
        predictions = read(output / f"linear-{percent}" / "predictions.csv")
        history = read(output / f"linear-{percent}" / "history.csv")
        assert metrics["protocol"] == f"linear-{percent}"
        assert (metrics["train_samples"], metrics["test_samples"]) == (samples, 30)
        right = [line["label"] == line["prediction"] for line in predictions]
        assert metrics["last"] == pytest.approx(100 * np.mean(right))
        curve = [float(line["top1"]) for line in history]
        assert [int(line["epoch"]) for line in history] == list(range(1, EPOCHS + 1))
        assert curve[-1] == pytest.approx(metrics["last"], abs=1e-4)
        assert max(curve) == pytest.approx(metrics["best"], abs=1e-4)
        assert curve.index(max(curve)) + 1 == metrics["best_epoch"]
        assert metrics["provenance"]["settings"]["seed"] == 4
        assert set(metrics["provenance"]["inputs"]) == {"train", "test"}


def test_the_list_decides_which_samples_are_used(folder):
    output = run(folder)
    x, y = clusters(60, 8, 3, 3, spread=2.0)
    test_x, test_y = clusters(30, 8, 3, 1, seed=1, spread=2.0)
    rows = np.array([17, 3, 40, 5, 9, 33])
    recipe = LinearFit(learning_rate=0.1, batch_size=16, epochs=EPOCHS)
    (expected,) = fit_heads(
        lambda v: x[v, rows].astype(np.float16),
        3,
        y[rows],
        test_x[0].astype(np.float16),
        test_y,
        3,
        [Head(recipe, 4)],
    )
    written = [int(line["prediction"]) for line in read(output / "linear-10" / "predictions.csv")]
    assert written == expected.predictions.tolist()


def test_of_more_views_than_asked_for_the_first_are_used(folder):
    few = run(folder, views={10: 2, 100: 2})
    written = (few / "linear-100/history.csv").read_text()
    x, y = clusters(60, 8, 3, 3, spread=2.0)
    write_features(folder / "train", x[:2], y, crops=["random"] * 2, shards=4)
    assert (run(folder, views={10: 2, 100: 2}) / "linear-100/history.csv").read_text() == written
    assert json.loads((few / "linear-10/metrics.json").read_text())["views"] == 2


def test_fewer_views_than_asked_for(folder):
    with pytest.raises(E2MCError, match=r"holds 3 views, and evaluation.linear.views.100 asks"):
        run(folder, views={10: 2, 100: 4})
    assert not (folder / "evaluate/linear-100").exists()


def test_nothing_to_do_on_cached_views(folder):
    with pytest.raises(E2MCError, match=r"`e2mc linear-online` trains these probes"):
        run(folder, fits={}, views={})


def rewrite(folder, split, **changes):
    path = folder / split / "index.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_sha256": "other"}, "different models"),
        ({"dataset": "inat18"}, "different data sets"),
        ({"kind": "quarters"}, "different layers"),
        ({"classes": [*CLASSES[:2], "n04"]}, "different classes"),
        ({"names": ["one"]}, "1 names, 30 labels and 30 samples"),
        ({"dim": 9}, r"holds float16 \(1, 30, 8\) instead of"),
    ],
)
def test_features_that_do_not_belong_together(folder, changes, message):
    rewrite(folder, "test", **changes)
    with pytest.raises(E2MCError, match=message):
        run(folder)
    assert not (folder / "evaluate").exists()


def test_damaged_and_missing_shards(folder):
    shard = folder / "train" / "shard-0002.npy"
    content = shard.read_bytes()
    shard.write_bytes(content[:-7])
    with pytest.raises(E2MCError, match=r"shard-0002.npy is cut short or damaged"):
        run(folder)
    shard.unlink()
    with pytest.raises(E2MCError, match=r"shard-0002.npy is missing"):
        run(folder)


def test_a_shard_of_another_backbone_in_the_place_of_ones_own(folder):
    x, y = clusters(60, 8, 3, 3, seed=5)
    write_features(folder / "other", x, y, crops=["random"] * 3, shards=4)
    (folder / "other" / "shard-0001.npy").replace(folder / "train" / "shard-0001.npy")
    with pytest.raises(E2MCError, match=r"shard-0001.npy has changed .* another model"):
        run(folder)
    assert not (folder / "evaluate").exists()


def test_no_list_for_the_share(folder):
    with pytest.raises(E2MCError, match=r"data\.imagenet\.lists\.10"):
        run(folder, lists={})


def test_bad_features_are_named(folder):
    x, y = clusters(60, 8, 3, 3)
    x[1, 41, 2] = np.inf
    write_features(folder / "train", x, y, crops=["random"] * 3)
    with pytest.raises(E2MCError, match=r"image_41.JPEG are not finite"):
        run(folder)
