import os
from pathlib import Path

import pytest
import torch
from torch import nn

from e2mc.errors import E2MCError
from e2mc.models.store import (
    load_metadata,
    load_momentum,
    load_state,
    load_strict,
    save_model,
)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_weights_metadata_and_momentum_come_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "model.safetensors"
    state = network().state_dict()
    momentum = {f"momentum.{name}": torch.randn(2) for name in ("0.weight", "0.bias")}
    save_model({**state, **momentum}, path, {"method": "swav", "epoch": "800"})
    loaded = load_state(path)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert loaded["1.num_batches_tracked"].dtype == torch.int64
    assert load_metadata(path) == {"method": "swav", "epoch": "800"}
    assert torch.equal(load_momentum(path)["0.bias"], momentum["momentum.0.bias"])
    assert load_momentum(path).keys() == {"0.weight", "0.bias"}


def test_equal_models_give_equal_files(tmp_path: Path) -> None:
    state = {"a": torch.ones(2, 3).t(), "b": torch.arange(3)}
    metadata = {str(number): "x" for number in range(20)}
    for name in ("first", "second", "third"):
        save_model(state, tmp_path / name, metadata)
    files = [(tmp_path / name).read_bytes() for name in ("first", "second", "third")]
    assert files[0] == files[1] == files[2]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    """Results of one person are often read by another."""
    save_model({"a": torch.zeros(1)}, tmp_path / "model", {})
    (tmp_path / "text").write_text("x")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_channels_last_weights_keep_their_values(tmp_path: Path) -> None:
    weights = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    save_model({"weights": weights}, tmp_path / "model", {})
    assert torch.equal(load_state(tmp_path / "model")["weights"], weights)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_model({"a": torch.zeros(2)}, path, {})
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(E2MCError, match="No space left"):
        save_model({"a": torch.ones(2)}, path, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(E2MCError, match=r"model\.safetensors does not exist"):
        load_state(path)
    save_model(network().state_dict(), path, {})
    whole = path.read_bytes()
    for content in (whole[:-5], whole[:20], b"", b"not a model"):
        path.write_bytes(content)
        with pytest.raises(E2MCError, match=r"model\.safetensors is not a readable safetensors"):
            load_state(path)


def test_strict_loading(tmp_path: Path) -> None:
    source, target = network(), network()
    load_strict(target, source.state_dict(), "x")
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


def test_only_step_counters_may_be_absent() -> None:
    source, target = network(), network()
    state = source.state_dict()
    del state["1.num_batches_tracked"]
    load_strict(target, state, "x")
    assert torch.equal(target[0].weight, source[0].weight)
    del state["1.running_mean"]
    with pytest.raises(E2MCError, match=r"missing \(1\):\n  1.running_mean\n"):
        load_strict(target, state, "x")


def test_differences_are_listed_and_nothing_is_loaded() -> None:
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    state = {name: torch.full_like(tensor, 7) for name, tensor in before.items()}
    state["2.weight"] = torch.zeros(2, 5)
    del state["0.bias"]
    state |= {f"extra.{number}": torch.zeros(1) for number in range(25)}
    with pytest.raises(E2MCError) as refusal:
        load_strict(target, state, "some/model.safetensors")
    message = str(refusal.value)
    assert "some/model.safetensors does not fit the model; nothing was loaded" in message
    assert "missing (1):\n  0.bias\n" in message
    assert "misshapen (1):\n  2.weight is (2, 5), the model has (2, 4)\n" in message
    assert "unexpected (25):\n  extra.0\n" in message
    assert "extra.9\n  ... and 15 more\n" in message and "extra.10" not in message
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in before.items())
