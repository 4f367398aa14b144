"""Probes on fresh views against probes on as many cached ones, and what a kill costs."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from e2mc.config.fits import LinearFit
from e2mc.config.methods import VICReg
from e2mc.config.settings import (
    Crops,
    DataSetSettings,
    ExtractSettings,
    ImageNetSettings,
    LinearOnlineSettings,
)
from e2mc.errors import E2MCError
from e2mc.evaluation import linear_online as stage
from e2mc.evaluation.feature_files import Features, open_pair
from e2mc.evaluation.features import extract
from e2mc.evaluation.linear_online import linear_online
from e2mc.evaluation.probe import FittedHead, Head, Probe, fit_heads
from e2mc.models import save_model
from e2mc.models.store import load_state
from e2mc.training import resumable
from tests.evaluation import tiny_semisup

EPOCHS = 5
SEED = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tiny_semisup.write_data(tmp_path_factory.mktemp("imagenet"))
    return folder


def frozen(root: Path) -> dict[str, Any]:
    plain = tiny_semisup.settings(root)
    return {
        "backbone": plain.backbone,
        "images": plain.images,
        "normalization_std": plain.normalization_std,
        "pipeline": "tensor",
        "precision": "float32",
        "flip_probability": 0.5,
        "batch_size": 7,
        "workers": 0,
        "seed": SEED,
    }


def fit(**changes: Any) -> LinearFit:
    return LinearFit(**{"learning_rate": 0.3, "batch_size": 5, "epochs": EPOCHS, **changes})


def settings(root: Path, **changes: Any) -> LinearOnlineSettings:
    content = {
        **frozen(root),
        "fits": {1: fit(), 10: fit(learning_rate=0.1, weight_decay=1e-3)},
        "data": tiny_semisup.settings(root).data,
        "products": "float32",
    }
    return LinearOnlineSettings(**{**content, **changes})


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, FittedHead]]:
    """The classifiers of every run, in order."""
    found: list[dict[int, FittedHead]] = []
    original = stage.fit_online

    def kept(*arguments: Any) -> dict[int, FittedHead]:
        found.append(original(*arguments))
        return found[-1]

    monkeypatch.setattr(stage, "fit_online", kept)
    return found


@pytest.fixture(scope="module")
def cached(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Features, Features]:
    """As many cached views of all images as there are epochs."""
    data = tiny_semisup.settings(root).data
    seen = DataSetSettings(data=data, train=Crops(views=EPOCHS), test=Crops())
    chosen = ExtractSettings(
        **frozen(root), recipe=VICReg(), datasets={"imagenet": seen}, embedding_samples=2
    )
    folder = tmp_path_factory.mktemp("features")
    extract(chosen, root / "model.safetensors", folder)
    return open_pair(*(folder / f"imagenet-{split}/index.json" for split in ("train", "test")))


def on_cached(
    cached: tuple[Features, Features], head: LinearFit, lines: list[str] | None
) -> FittedHead:
    train, test = cached
    by_name = {Path(name).name: row for row, name in enumerate(train.names)}
    rows = None if lines is None else np.array([by_name[line] for line in lines])
    (fitted,) = fit_heads(
        partial(train.view, rows=rows),
        EPOCHS,
        train.labels if rows is None else train.labels[rows],
        test.whole(),
        test.labels,
        2,
        [Head(head, SEED)],
    )
    return fitted


def test_bit_for_bit_the_probe_on_as_many_cached_views(
    root: Path, tmp_path: Path, cached: tuple[Features, Features], heads: list[Any]
) -> None:
    """Where the trunk sees the same batches: all images, in the data set's order."""
    chosen = settings(root, fits={100: fit()})
    linear_online(chosen, root / "model.safetensors", tmp_path / "out", tmp_path / "state")
    expected, found = on_cached(cached, fit(), None), heads[0][100]
    np.testing.assert_array_equal(found.weight, expected.weight)
    np.testing.assert_array_equal(found.bias, expected.bias)
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    assert found.history == expected.history
    assert np.abs(found.weight).max() > 0.05, "the probe must have learned something"
    metrics = json.loads((tmp_path / "out/linear-100/metrics.json").read_text())
    assert (metrics["views"], metrics["train_samples"], metrics["test_samples"]) == (EPOCHS, 24, 10)


def test_of_listed_images_alone_the_same_within_the_rounding_of_features(
    root: Path, tmp_path: Path, cached: tuple[Features, Features], heads: list[Any]
) -> None:
    """Other batches may round a feature otherwise; the draws of an image are the same."""
    chosen = settings(root)
    linear_online(chosen, root / "model.safetensors", tmp_path / "out", tmp_path / "state")
    for percent, samples in ((1, 6), (10, 14)):
        lines = (root / f"{percent}.txt").read_text().split()
        expected, found = on_cached(cached, chosen.fits[percent], lines), heads[0][percent]
        np.testing.assert_allclose(found.weight, expected.weight, rtol=0, atol=1e-3)
        np.testing.assert_allclose(found.history, expected.history, rtol=1e-2)
        assert samples == len(lines)


def outcome(folder: Path) -> dict[str, Any]:
    """What may not depend on interruptions."""
    found: dict[str, Any] = {
        str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.csv")
    }
    for path in folder.rglob("metrics.json"):
        content = json.loads(path.read_text())
        found[str(path.relative_to(folder))] = {
            key: value for key, value in content.items() if key not in ("cost", "provenance")
        }
    return found


@pytest.mark.parametrize("steps", [1, 4, 9])
@pytest.mark.parametrize("block", [1, 2**20])
def test_killed_at_any_view_and_started_again_the_bits_are_the_same(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    heads: list[Any],
    steps: int,
    block: int,
) -> None:
    chosen, model = settings(root), root / "model.safetensors"
    linear_online(chosen, model, tmp_path / "whole", tmp_path / "a")
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(stage, "BLOCK_BYTES", block)
    original, trained = Probe.train, []

    def killed(probe: Probe, features: torch.Tensor) -> None:
        if len(trained) == steps:
            raise KeyboardInterrupt
        trained.append(probe)
        original(probe, features)

    monkeypatch.setattr(Probe, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        linear_online(chosen, model, tmp_path / "cut", tmp_path / "b")
    assert not (tmp_path / "cut").exists()
    done = len(trained) - len(trained) % 2  # an epoch that only one of two probes has seen is lost
    monkeypatch.setattr(Probe, "train", lambda *them: (trained.append(them[0]), original(*them)))
    linear_online(chosen, model, tmp_path / "cut", tmp_path / "b")
    assert len(trained) == steps + 2 * EPOCHS - done, "no epoch is trained twice"
    for percent in (1, 10):
        np.testing.assert_array_equal(heads[-1][percent].weight, heads[0][percent].weight)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    assert not list((tmp_path / "b").rglob("step-*")), "states are removed at the end"
    progress = json.loads((tmp_path / "b/progress.json").read_text())
    assert (progress["status"], progress["epoch"]) == ("finished", EPOCHS)
    assert progress["step"] == progress["steps"] == 2 * EPOCHS, "14 images in batches of seven"


def test_shares_of_different_length_end_when_each_is_done(
    root: Path, tmp_path: Path, heads: list[Any]
) -> None:
    model = root / "model.safetensors"
    chosen = settings(root, fits={1: fit(epochs=2), 10: fit()})
    linear_online(chosen, model, tmp_path / "both", tmp_path / "a")
    linear_online(settings(root, fits={1: fit(epochs=2)}), model, tmp_path / "one", tmp_path / "b")
    both, one = heads[0][1], heads[1][1]
    assert len(both.history) == 2
    np.testing.assert_allclose(both.weight, one.weight, atol=1e-3)


def test_a_state_of_other_settings_is_not_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: list[Any]
) -> None:
    model = root / "model.safetensors"
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(stage.Run, "train", _once(stage.Run.train))
        with pytest.raises(KeyboardInterrupt):
            linear_online(settings(root), model, tmp_path / "out", tmp_path / "state")
    other = settings(root, seed=SEED + 1)
    linear_online(other, model, tmp_path / "out", tmp_path / "state")
    linear_online(other, model, tmp_path / "fresh", tmp_path / "another")
    np.testing.assert_array_equal(heads[-2][10].weight, heads[-1][10].weight)


def _once(original: Any) -> Any:
    calls: list[int] = []

    def train(*arguments: Any) -> None:
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        original(*arguments)

    return train


def test_refusals(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(chosen: LinearOnlineSettings, model: Path = root / "model.safetensors") -> None:
        linear_online(chosen, model, tmp_path / "out", tmp_path / "state")

    def listing(text: str) -> LinearOnlineSettings:
        (tmp_path / "1.txt").write_text(text)
        data = ImageNetSettings(root=root, lists={1: tmp_path / "1.txt"}, validation_fraction=None)
        return settings(root, data=data, fits={1: fit()})

    with pytest.raises(E2MCError, match=r"more than once: n01_0.JPEG. Remove the repeated lines"):
        run(listing("n01_0.JPEG\nn02_1.JPEG\nn01_0.JPEG\n"))
    with pytest.raises(E2MCError, match=r"n09_7.JPEG. The list belongs to another data set"):
        run(listing("n01_0.JPEG\nn09_7.JPEG\n"))
    with pytest.raises(E2MCError, match=r"set data\.imagenet\.lists\.10"):
        run(listing("n01_0.JPEG\n").model_copy(update={"fits": {10: fit()}}))
    state = load_state(root / "model.safetensors")
    name = next(name for name in state if name.endswith("conv1.weight"))
    save_model({**state, name: state[name] * float("nan")}, tmp_path / "bad.safetensors", {})
    with pytest.raises(E2MCError, match=r"n01_0.JPEG are NaN .* the model has diverged"):
        run(settings(root), tmp_path / "bad.safetensors")
    with pytest.raises(E2MCError, match=r"conv1.*does not fit|does not fit"):
        run(settings(root, backbone=tiny_semisup.BACKBONE.model_copy(update={"width": 3})))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(E2MCError, match="runs in one process"):
        run(settings(root))
    assert not (tmp_path / "out").exists()
