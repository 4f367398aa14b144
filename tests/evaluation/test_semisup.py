import csv
import json
import multiprocessing
import os
import socket

import numpy as np
import pytest
import torch

from e2mc.config.fits import FineTune
from e2mc.config.methods import Views
from e2mc.config.settings import ImageNetSettings
from e2mc.data.evaluation_views import evaluation_batches
from e2mc.data.image_set import ImageSet
from e2mc.data.imagenet import open_imagenet
from e2mc.data.labels import label_subset
from e2mc.data.views import TrainingViews
from e2mc.errors import E2MCError
from e2mc.evaluation import fine_tuning
from e2mc.evaluation import semisup as stage
from e2mc.evaluation.semisup import semisup
from e2mc.models import build_backbone
from e2mc.training import resumable
from tests.evaluation.tiny_semisup import BACKBONE, STD, settings, write_data


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("imagenet"))


def plain(chosen, percent):
    """The official script's loop, with torch's own optimizer and schedules."""
    fit, root = chosen.fits[percent], chosen.data.root
    images = open_imagenet(chosen.data, "train")
    rows = label_subset(root / f"{percent}.txt", images)
    names = tuple(images.names[row] for row in rows)
    labelled = ImageSet(images.root, names, images.labels[rows], images.classes)
    test = open_imagenet(chosen.data, "test")
    # Two full views are the least a recipe may have; the first is the one wanted.
    recipe = Views(
        jitter_probability=0,
        gray_probability=0,
        blur_probability=(0,),
        normalization_std=STD,
        pipeline="tensor",
    )
    views = TrainingViews(
        labelled, recipe, chosen.images, fit.batch_size, chosen.seed, 0, torch.device("cpu")
    )
    (centre,) = evaluation_batches(test, chosen.images, "center", STD, "tensor", len(test))
    torch.manual_seed(chosen.seed)
    head = torch.nn.Linear(BACKBONE.feature_dimension, 2)
    torch.manual_seed(0)
    network = torch.nn.Sequential(build_backbone(BACKBONE), head)
    optimizer = torch.optim.SGD(
        [
            {"params": network[0].parameters(), "lr": fit.backbone_learning_rate},
            {"params": head.parameters(), "lr": fit.head_learning_rate},
        ],
        momentum=0.9,
    )
    if fit.milestones:
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, fit.milestones, 0.2)
    else:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, fit.epochs)
    history = []
    for epoch in range(fit.epochs):
        rate, total = schedule.get_last_lr()[0], 0.0
        network.train()
        for (first, _), labels in views.epoch(epoch):
            loss = torch.nn.functional.cross_entropy(network(first), labels)
            total += loss.item() * len(labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        network.eval()
        predicted = network(centre).argmax(1).numpy()
        top1 = 100 * np.mean(predicted == test.labels)
        history.append((epoch + 1, top1, total / len(labelled), rate))
    return network.state_dict(), history, predicted


def read(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def outcome(folder):
    """What may not depend on interruptions."""
    files = sorted(folder.rglob("*.csv"))
    metrics = {p.parent.name: json.loads(p.read_text()) for p in folder.rglob("metrics.json")}
    numbers = {
        name: {
            key: value
            for key, value in content.items()
            if key not in ("cost", "provenance", "seal")
        }
        for name, content in metrics.items()
    }
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}, numbers


@pytest.fixture
def weights(monkeypatch):
    """Final weights of every share that `semisup` fine-tunes, in order."""
    final, original = [], stage.fine_tune

    def kept(run, *arguments):
        original(run, *arguments)
        final.append({k: v.clone() for k, v in run.network.state_dict().items()})

    monkeypatch.setattr(stage, "fine_tune", kept)
    return final


def test_equals_the_plain_loop(root, tmp_path, weights):
    chosen = settings(root)
    semisup(chosen, root / "model.safetensors", tmp_path / "out", tmp_path / "state")
    for found, percent in zip(weights, (1, 10), strict=True):
        expected, history, predicted = plain(chosen, percent)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
        lines = read(tmp_path / f"out/semisup-{percent}/history.csv")
        rows = [[float(value) for value in line.values()] for line in lines]
        np.testing.assert_allclose(rows, history, rtol=1e-3)
        predictions = read(tmp_path / f"out/semisup-{percent}/predictions.csv")
        assert [int(line["prediction"]) for line in predictions] == predicted.tolist()
    metrics = json.loads((tmp_path / "out/semisup-10/metrics.json").read_text())
    assert (metrics["train_samples"], metrics["test_samples"]) == (14, 10)
    assert not list((tmp_path / "state").rglob("step-*")), "states are removed at the end"


@pytest.mark.parametrize("steps", [1, 6, 8, 9, 13])
def test_killed_and_resumed_is_bit_identical(root, tmp_path, monkeypatch, weights, steps):
    chosen, model = settings(root), root / "model.safetensors"
    semisup(chosen, model, tmp_path / "whole", tmp_path / "a")
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    done, original = [], fine_tuning.F.cross_entropy

    def killed(*arguments):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return original(*arguments)

    monkeypatch.setattr(fine_tuning.F, "cross_entropy", killed)
    with pytest.raises(KeyboardInterrupt):
        semisup(chosen, model, tmp_path / "cut", tmp_path / "b")
    done.clear()

    def counted(*arguments):
        done.append(1)
        return original(*arguments)

    monkeypatch.setattr(fine_tuning.F, "cross_entropy", counted)
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 300.0)
    semisup(chosen, model, tmp_path / "cut", tmp_path / "b")
    assert len(done) == 8 + 12 - steps, "no step is done twice"
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    for name, tensor in weights[1].items():
        assert torch.equal(weights[-1][name], tensor), name
    metrics = json.loads((tmp_path / "cut/semisup-10/metrics.json").read_text())
    assert metrics["cost"]["restarts"] == 1
    progress = json.loads((tmp_path / "b/progress.json").read_text())
    assert (progress["status"], progress["step"], progress["epoch"]) == ("finished", 20, 8)


def _child(rank, port, *arguments):
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    semisup(*arguments)


@pytest.mark.parametrize("batch_norm", ["synchronised", "train"])
def test_two_processes_do_what_one_does_where_batch_norm_is_synchronised(
    root, tmp_path, batch_norm
):
    import torch._dynamo  # noqa: F401  # DDP needs it; forked children inherit it

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chosen, model = settings(root, batch_norm=batch_norm), root / "model.safetensors"
    context = multiprocessing.get_context("fork")
    shared = (chosen, model, tmp_path / "two", tmp_path / "a")
    children = [context.Process(target=_child, args=(rank, port, *shared)) for rank in range(2)]
    for child in children:
        child.start()
    semisup(chosen, model, tmp_path / "one", tmp_path / "b")
    for child in children:
        child.join()
        assert child.exitcode == 0
    differences = []
    for percent in (1, 10):
        curves = [
            [float(line["train_loss"]) for line in read(folder / f"semisup-{percent}/history.csv")]
            for folder in (tmp_path / "one", tmp_path / "two")
        ]
        differences.append(np.abs(np.subtract(*curves)).max())
    if batch_norm == "synchronised":
        assert max(differences) < 1e-4
    else:
        assert min(differences) > 1e-3


def test_a_state_of_other_settings_is_not_used(root, tmp_path, monkeypatch, capsys):
    model = root / "model.safetensors"
    semisup(settings(root, seed=7), model, tmp_path / "whole", tmp_path / "a")
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    original = fine_tuning.F.cross_entropy
    left = iter([1, 1])

    def killed(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(fine_tuning.F, "cross_entropy", killed)
    with pytest.raises(KeyboardInterrupt):
        semisup(settings(root), model, tmp_path / "cut", tmp_path / "b")
    monkeypatch.setattr(fine_tuning.F, "cross_entropy", original)
    semisup(settings(root, seed=7), model, tmp_path / "cut", tmp_path / "b")
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    assert "starting anew" in capsys.readouterr().out


def test_refusals(root, tmp_path):
    model = root / "model.safetensors"
    fit = FineTune(backbone_learning_rate=1e30, head_learning_rate=1e30, epochs=5, batch_size=4)
    with pytest.raises(E2MCError, match="fine-tuning is nan"):
        semisup(settings(root, fits={1: fit}), model, tmp_path / "out", tmp_path / "state")
    unlisted = ImageNetSettings(root=root, lists={}, validation_fraction=None)
    with pytest.raises(E2MCError, match=r"data\.imagenet\.lists\.1"):
        semisup(settings(root, data=unlisted), model, tmp_path / "out", tmp_path / "state")
    wider = settings(root, backbone=BACKBONE.model_copy(update={"width": 3}))
    with pytest.raises(E2MCError, match=r"\(backbone\) does not fit the model"):
        semisup(wider, model, tmp_path / "out", tmp_path / "other")
    assert not (tmp_path / "out").exists()
