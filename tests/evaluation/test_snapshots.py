"""Probes of snapshots are the online protocol, and go on where they were interrupted."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from e2mc.config.experiment import Images
from e2mc.config.fits import LinearFit
from e2mc.config.settings import ImageNetSettings, SnapshotSettings
from e2mc.data.evaluation_views import evaluation_batches
from e2mc.data.imagenet import open_imagenet
from e2mc.data.labels import listed
from e2mc.data.sampling import epoch_batches
from e2mc.errors import E2MCError
from e2mc.evaluation import snapshots as stage
from e2mc.evaluation.snapshots import snapshots
from e2mc.models import build_backbone, load_state, save_model
from tests.evaluation.tiny_semisup import BACKBONE, STD, write_data

FIT = LinearFit(learning_rate=0.1, epochs=7, batch_size=4)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_data(tmp_path_factory.mktemp("data"))
    for epoch in (2, 4):
        save_trunk(root, epoch, "a")
    return root


def save_trunk(folder: Path, epoch: int, run: str) -> Path:
    torch.manual_seed(epoch)
    weights = build_backbone(BACKBONE).state_dict()
    state = {f"backbone.{name}": tensor for name, tensor in weights.items()}
    path = folder / f"epoch{epoch}.safetensors"
    save_model(state, path, {"method": "vicreg", "epochs": str(epoch), "run": run})
    return path


def settings(root: Path, **changes: object) -> SnapshotSettings:
    content = {
        "backbone": BACKBONE,
        "images": Images(size=12, evaluation_resize=14),
        "percent": 10,
        "fit": FIT,
        "data": ImageNetSettings(
            root=root, lists={p: root / f"{p}.txt" for p in (1, 10)}, validation_fraction=None
        ),
        "normalization_std": STD,
        "pipeline": "tensor",
        "flip_probability": 0.5,
        "batch_size": 5,
        "precision": "float32",
        "workers": 0,
        "seed": 6,
    }
    return SnapshotSettings(**{**content, **changes})


def models(root: Path) -> list[Path]:
    return [
        root / name for name in ("model.safetensors", "epoch2.safetensors", "epoch4.safetensors")
    ]


def online(chosen: SnapshotSettings, model: Path) -> float:
    """The paper's loop: in every epoch fresh views, features, softmax regression by torch's SGD."""
    trunk = build_backbone(BACKBONE).eval()
    state = load_state(model).items()
    trunk.load_state_dict({k[9:]: v for k, v in state if k.startswith("backbone.")})
    train = listed(open_imagenet(chosen.data, "train"), chosen.data.lists, chosen.percent)
    test = open_imagenet(chosen.data, "test")

    def features(images, crop, view):
        batches = evaluation_batches(
            images, chosen.images, crop, STD, "tensor", 64, seed=chosen.seed, view=view
        )
        return torch.cat([trunk(batch) for batch in batches]).detach().double()

    generator = torch.Generator().manual_seed(chosen.seed)
    weight = torch.empty(2, BACKBONE.feature_dimension).normal_(0, 0.01, generator=generator)
    weight = weight.double().requires_grad_()
    bias = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], lr=FIT.learning_rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FIT.epochs)
    for epoch in range(FIT.epochs):
        x = features(train, "random", epoch)
        for batch in epoch_batches(np.arange(len(train)), FIT.batch_size, chosen.seed, epoch):
            loss = F.cross_entropy(
                x[batch] @ weight.T + bias, torch.from_numpy(train.labels[batch])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    predicted = (features(test, "center", 0) @ weight.T + bias).argmax(dim=1).numpy()
    return 100 * float(np.mean(predicted == test.labels))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_every_epoch_of_the_probe_sees_a_fresh_view(root: Path, tmp_path: Path) -> None:
    chosen = settings(root)
    snapshots(chosen, models(root), tmp_path / "snapshots", tmp_path / "state")
    found = rows(tmp_path / "snapshots")
    assert [line["epoch"] for line in found] == ["0", "2", "4"]
    expected = [online(chosen, model) for model in models(root)]
    assert [float(line["top1"]) for line in found] == pytest.approx(expected)
    metrics = json.loads((tmp_path / "snapshots/metrics.json").read_text())
    assert metrics["last"] == pytest.approx(expected[-1])
    assert (metrics["protocol"], metrics["views"], metrics["percent"]) == ("snapshots", 7, 10)
    assert (metrics["train_samples"], metrics["test_samples"]) == (14, 10)
    assert not list((tmp_path / "state").glob("*.json"))


def test_what_is_probed_is_not_probed_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[str] = []
    original = stage._probe

    def probe(chosen, model, train, test):
        probed.append(model.name)
        if len(probed) == 2:
            raise KeyboardInterrupt
        return original(chosen, model, train, test)

    monkeypatch.setattr(stage, "_probe", probe)
    arguments = (models(root), tmp_path / "snapshots", tmp_path / "state")
    with pytest.raises(KeyboardInterrupt):
        snapshots(settings(root), *arguments)
    assert not (tmp_path / "snapshots").exists()
    snapshots(settings(root), *arguments)
    assert probed == [model.name for model in (*models(root)[:2], *models(root)[1:])]

    probed.clear()
    with pytest.raises(KeyboardInterrupt):
        snapshots(settings(root), *arguments)
    snapshots(settings(root, seed=7), *arguments)  # of another seed nothing is known
    assert probed[2:] == [model.name for model in models(root)]


def test_what_cannot_be_probed_is_refused(root: Path, tmp_path: Path) -> None:
    other = save_trunk(tmp_path, 4, "b")
    arguments = (tmp_path / "snapshots", tmp_path / "state")
    mixed = [*models(root)[:2], other]
    with pytest.raises(E2MCError, match=r"are of 2 runs: delete them and train again"):
        snapshots(settings(root), mixed, *arguments)
    with pytest.raises(E2MCError, match=r"epoch9\.safetensors does not exist"):
        snapshots(settings(root), [root / "epoch9.safetensors"], *arguments)
    with pytest.raises(E2MCError, match=r"set data\.imagenet\.lists\.100"):
        snapshots(settings(root, percent=100), models(root), *arguments)
    wider = BACKBONE.model_copy(update={"width": 3})
    with pytest.raises(E2MCError, match="does not fit the model"):
        snapshots(settings(root, backbone=wider), models(root), *arguments)
