"""A run with snapshots passes through the model of the run without, and can be killed as well."""

import json
from pathlib import Path

import pytest
import torch

from e2mc.config.criteria import CorInfoMax
from e2mc.config.settings import TrainSettings
from e2mc.models import load_state
from e2mc.models.store import load_metadata
from e2mc.training.state import Interrupted
from tests.training.tiny import CRITERION, tiny_settings, train


def with_snapshots(settings: TrainSettings, *epochs: int) -> TrainSettings:
    return settings.model_copy(update={"snapshots": epochs})


def rows(folder: Path) -> list[str]:
    lines = (folder / "history.csv").read_text().splitlines()
    return [line.rsplit(",", 2)[0] for line in lines]  # not the two that measure time


@pytest.mark.parametrize(
    ("method", "criterion"),
    [("vicreg", CRITERION), ("swav", CorInfoMax()), ("simsiam", None)],
    ids=["vicreg", "swav with queue and moving averages", "simsiam"],
)
def test_the_model_is_that_of_a_run_without_snapshots(images, tmp_path, method, criterion):
    settings = tiny_settings(images, method, criterion, epochs=2)
    short = train(settings, tmp_path / "short")
    long = train(with_snapshots(settings, 1, 2, 3, 4), tmp_path / "long")
    assert long.read_bytes() == short.read_bytes()
    assert rows(tmp_path / "long")[:3] == rows(tmp_path / "short")
    assert len(rows(tmp_path / "long")) == 1 + 4
    final = [
        json.loads((tmp_path / n / "metrics.json").read_text())["final"] for n in ("short", "long")
    ]
    assert final[0]["loss"] == final[1]["loss"]

    whole = train(
        settings.model_copy(
            update={"training": settings.training.model_copy(update={"epochs": 4})}
        ),
        tmp_path / "whole",
    )
    for model, epoch in ((short, 2), (whole, 4)):
        kept = load_state(tmp_path / f"long/epoch{epoch}.safetensors")
        trunk = {k: v for k, v in load_state(model).items() if k.startswith("backbone.")}
        assert kept.keys() == trunk.keys()
        assert all(torch.equal(kept[name], trunk[name]) for name in trunk)
    assert {p.name for p in (tmp_path / "long/state").iterdir()} <= {"progress.json", "lock"}


def test_snapshots_are_only_those_asked_for_and_may_end_before_the_model(images, tmp_path):
    settings = with_snapshots(tiny_settings(images, epochs=3), 2)
    model = train(settings, tmp_path)
    assert sorted(p.name for p in tmp_path.glob("epoch*")) == ["epoch2.safetensors"]
    assert load_metadata(tmp_path / "epoch2.safetensors")["epochs"] == "2"
    assert load_metadata(model)["epochs"] == "3"
    assert len(rows(tmp_path)) == 1 + 3


def test_a_killed_run_keeps_its_snapshots(images, tmp_path, warn_after):
    settings = with_snapshots(tiny_settings(images, "swav", CRITERION, epochs=2), 1, 3, 4)
    whole = train(settings, tmp_path / "whole")
    warn_after(5, 10)  # in the second and in the fourth epoch
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "cut")
    cut = train(settings, tmp_path / "cut")
    for name in ("model", "epoch1", "epoch3", "epoch4"):
        first, second = (model.parent / f"{name}.safetensors" for model in (whole, cut))
        assert first.read_bytes() == second.read_bytes()
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


def test_a_state_that_lacks_a_snapshot_is_not_gone_on_from(images, tmp_path, warn_after, capsys):
    settings = tiny_settings(images, epochs=3)
    warn_after(5)
    with pytest.raises(Interrupted):
        train(settings, tmp_path)
    warn_after()
    train(with_snapshots(settings, 1, 3), tmp_path)
    assert "lacks epoch1.safetensors of this run: starting anew" in capsys.readouterr().out
    assert (tmp_path / "epoch1.safetensors").exists()
    assert len(rows(tmp_path)) == 1 + 3


def test_a_state_that_has_passed_no_snapshot_is(images, tmp_path, warn_after, capsys):
    settings = tiny_settings(images, epochs=3)
    warn_after(2)
    with pytest.raises(Interrupted):
        train(settings, tmp_path)
    warn_after()
    train(with_snapshots(settings, 1, 3), tmp_path)
    assert "first step              2" in capsys.readouterr().out
