"""The stages that read cached features and write results."""

import csv
import json

import numpy as np
import pytest
import torch
from scipy.special import expit, ndtr

from e2mc.config.evaluation import VOC07, INat18, Neighbours
from e2mc.config.fits import LinearFit
from e2mc.config.settings import KNNSettings, ProtocolSettings
from e2mc.data.sampling import epoch_batches
from e2mc.errors import E2MCError
from e2mc.evaluation.inat18 import inat18
from e2mc.evaluation.knn import in_unit_cube, knn
from e2mc.evaluation.neighbours import knn_top1
from e2mc.evaluation.results import Epoch, write_classification, write_multilabel
from e2mc.evaluation.svm import svm_average_precision
from e2mc.evaluation.voc07 import voc07
from tests.evaluation.cached_features import clusters, write_features

EPOCHS = 4


def read(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def pair(folder, train, train_y, test, test_y, crops, test_crops=("center",), **changes):
    return (
        write_features(folder / "train", train, train_y, crops=crops, shards=2, **changes),
        write_features(folder / "test", test, test_y, crops=test_crops, split="test", **changes),
    )


@pytest.fixture
def maps(tmp_path):
    x, y = clusters(50, 4 * 5, 3, 2, spread=2.0)
    test_x, test_y = clusters(40, 4 * 5, 3, 1, seed=1, spread=2.0)
    indices = pair(
        tmp_path, x, y, test_x, test_y, ["random"] * 2, dataset="inat18", kind="quarters"
    )
    return tmp_path, indices, (x, y, test_x[0], test_y)


def plain_inat18(x, y, test_x, fit, seed):
    """e2mc `eval_linear.py --use_bn`: BatchNorm2d on the map, then Linear, plain SGD."""
    x, test_x = (torch.from_numpy(a.astype(np.float16)).float() for a in (x, test_x))
    batch_norm, linear = torch.nn.BatchNorm2d(5), torch.nn.Linear(20, 3)
    linear.weight.data.normal_(0, 0.01, generator=torch.Generator().manual_seed(seed))
    linear.bias.data.zero_()
    parameters = [*batch_norm.parameters(), *linear.parameters()]
    optimizer = torch.optim.SGD(parameters, fit.learning_rate, 0.9, weight_decay=fit.weight_decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, fit.milestones, 0.1)
    rates = []
    for epoch in range(fit.epochs):
        rates.append(schedule.get_last_lr()[0])
        for rows in epoch_batches(np.arange(len(y)), fit.batch_size, seed, epoch):
            hidden = batch_norm(x[epoch % 2][rows].view(-1, 5, 2, 2))
            logits = linear(hidden.flatten(1))
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    batch_norm.eval()
    return linear(batch_norm(test_x.view(-1, 5, 2, 2)).flatten(1)).argmax(1).numpy(), loss, rates


def test_inat18_equals_the_plain_loop(maps):
    folder, indices, (x, y, test_x, test_y) = maps
    fit = LinearFit(
        learning_rate=0.1, weight_decay=1e-2, epochs=EPOCHS, batch_size=50, milestones=(2, 3)
    )
    inat18(ProtocolSettings(protocol=INat18(fit=fit), seed=3), *indices, folder / "inat18")
    expected, loss, rates = plain_inat18(x, y, test_x, fit, 3)
    history = read(folder / "inat18/history.csv")
    assert float(history[-1]["train_loss"]) == pytest.approx(loss.item(), rel=1e-4)
    assert [float(line["learning_rate"]) for line in history] == pytest.approx(rates)
    found = [int(line["prediction"]) for line in read(folder / "inat18/predictions.csv")]
    assert found == expected.tolist()
    metrics = json.loads((folder / "inat18/metrics.json").read_text())
    assert metrics["last"] == pytest.approx(100 * np.mean(expected == test_y))
    assert metrics["last"] > 50
    assert (metrics["protocol"], metrics["views"]) == ("inat18", 2)


def test_inat18_refuses_pooled_features(tmp_path):
    x, y = clusters(20, 8, 3, 1)
    indices = pair(tmp_path, x, y, x, y, ["random"], dataset="inat18")
    with pytest.raises(E2MCError, match="2x2 maps"):
        inat18(ProtocolSettings(protocol=INat18(), seed=0), *indices, tmp_path / "inat18")


def test_a_diverging_probe_is_reported(maps):
    folder, indices, _ = maps
    fit = LinearFit(learning_rate=1e30, epochs=3)
    with pytest.raises(E2MCError, match=r"iNat18 probe is (nan|inf) in epoch .*diverged"):
        inat18(ProtocolSettings(protocol=INat18(fit=fit), seed=3), *indices, folder / "inat18")
    assert not (folder / "inat18/metrics.json").exists()


def test_voc07_writes_what_the_svms_find(tmp_path):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(1, 60, 6)), 0).astype(np.float16)
    labels = np.where(x[0, :, :2] > 0.5, 1, -1)
    labels[rng.random(labels.shape) < 0.1] = 0
    classes, crops = ("bus", "cat"), ["squash"]
    indices = pair(
        tmp_path,
        x[:, :40],
        labels[:40],
        x[:, 40:],
        labels[40:],
        crops,
        crops,
        classes=classes,
        dataset="voc07",
    )
    protocol = VOC07(costs=(0.1, 1.0))
    voc07(ProtocolSettings(protocol=protocol, seed=1), *indices, tmp_path / "voc07")
    expected = svm_average_precision(
        x[0, :40], labels[:40], x[0, 40:], labels[40:], protocol.costs, seed=1
    )
    metrics = json.loads((tmp_path / "voc07/metrics.json").read_text())
    assert (metrics["metric"], metrics["classes"], metrics["crop"]) == ("mAP", 2, "squash")
    assert metrics["last"] == pytest.approx(100 * expected.mean_average_precision)
    assert metrics["per_class"]["cat"] == pytest.approx(100 * expected.average_precision[1])
    assert metrics["costs"] == dict(zip(classes, expected.costs, strict=True))
    lines = read(tmp_path / "voc07/predictions.csv")
    assert [line["class"] for line in lines] == ["bus", "cat"] * 20
    scores = np.array([float(line["score"]) for line in lines]).reshape(20, 2)
    np.testing.assert_array_equal(scores, expected.scores)
    written = np.array([int(line["label"]) for line in lines]).reshape(20, 2)
    np.testing.assert_array_equal(written, labels[40:])


def test_knn_compares_centre_crops(tmp_path):
    x, y = clusters(60, 8, 3, 3, spread=2.0)
    test_x, test_y = clusters(30, 8, 3, 1, seed=1, spread=2.0)
    indices = pair(tmp_path, x, y, test_x, test_y, ["random", "random", "center"])
    protocol = Neighbours(neighbours=(5, 11), distance_ranks=(1, 4))
    embeddings = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float16)
    np.save(tmp_path / "embeddings.npy", embeddings)
    settings = KNNSettings(protocol=protocol, space="hypercube")
    knn(settings, *indices, tmp_path / "embeddings.npy", tmp_path / "knn")
    stored = test_x[0].astype(np.float16)
    votes = knn_top1(x[2].astype(np.float16), y, stored, test_y, (5, 11))
    metrics = json.loads((tmp_path / "knn/metrics.json").read_text())
    assert metrics["last"] == pytest.approx(100 * votes.top1[5])
    assert metrics["neighbours"]["11"] == pytest.approx(100 * votes.top1[11])
    found = [int(line["prediction"]) for line in read(tmp_path / "knn/predictions.csv")]
    assert found == votes.predictions[5].tolist()
    distances = np.load(tmp_path / "knn/distances.npy")
    cube = 1 / (1 + np.exp(-embeddings.astype(float)))
    exact = np.linalg.norm(cube[:, None] - cube[None], axis=2)
    expected = np.sort(exact, axis=1)[:, [1, 4]]
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, expected, atol=1e-3)


def test_embeddings_in_the_cube_of_either_space(tmp_path, monkeypatch):
    monkeypatch.setattr("e2mc.evaluation.knn.ROWS", 3)
    z = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float16)
    path = tmp_path / "embeddings.npy"
    np.save(path, z)
    for space, expected in (("hypercube", expit(z)), ("hypersphere", ndtr(z.astype(float)))):
        np.testing.assert_allclose(in_unit_cube(path, space), expected, atol=5e-4)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(E2MCError, match=r"cannot read the embeddings .*embeddings.npy"):
        in_unit_cube(path, "hypercube")


def test_the_reported_number_is_the_last_and_the_best_is_the_first_of_equals(tmp_path):
    history = [
        Epoch(1, 50, 2, 0.1),
        Epoch(2, 75, 1, 0.1),
        Epoch(3, 75, 0.5, 0.1),
        Epoch(4, 25, 0.4, 0),
    ]
    write_classification(
        tmp_path / "linear-10",
        names=["a,b", "c", "d", "e"],
        labels=np.array([0, 1, 2, 0]),
        predictions=np.array([0, 0, 0, 1]),
        classes=3,
        train_samples=9,
        provenance={"code": "x"},
        history=history,
    )
    metrics = json.loads((tmp_path / "linear-10/metrics.json").read_text())
    assert (metrics["last"], metrics["best"], metrics["best_epoch"]) == (25, 75, 2)
    assert metrics["unit"] == "%"
    lines = read(tmp_path / "linear-10/predictions.csv")
    assert lines[0] == {"sample": "a,b", "label": "0", "prediction": "0"}


def test_the_test_set_is_known_by_its_names_and_labels(tmp_path):
    def test_set(names, labels, predictions):
        write_classification(
            tmp_path / "knn",
            names=names,
            labels=np.array(labels),
            predictions=np.array(predictions),
            classes=2,
            train_samples=9,
            provenance={},
        )
        return json.loads((tmp_path / "knn/metrics.json").read_text())["test_set"]

    one = test_set(["a", "b"], [0, 1], [0, 0])
    assert one == test_set(["a", "b"], [0, 1], [1, 1])
    assert one != test_set(["a", "c"], [0, 1], [0, 0])
    assert one != test_set(["a", "b"], [1, 1], [0, 0])


def test_scores_that_are_not_finite_are_named(tmp_path):
    with pytest.raises(E2MCError, match="score of two for cat is nan"):
        write_multilabel(
            tmp_path / "voc07",
            names=["one", "two"],
            labels=np.ones((2, 2), int),
            scores=np.array([[0, 1], [2, np.nan]]),
            classes=["bus", "cat"],
            average_precision=[1, 1],
            train_samples=2,
            provenance={},
        )
    assert not (tmp_path / "voc07").exists()
