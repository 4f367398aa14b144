"""Events for TensorBoard, through a stand-in for its writer: the package itself is optional."""

import sys
import types

import pytest
import torch

from e2mc.errors import E2MCError
from e2mc.models import load_state
from e2mc.training import tensorboard
from e2mc.training.state import Interrupted
from tests.training.tiny import CRITERION, RESULTS, tiny_settings, train


class Writer:
    """What `torch.utils.tensorboard.SummaryWriter` is asked to do."""

    made: list["Writer"] = []  # noqa: RUF012

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.scalars: dict[str, dict[int, float]] = {}
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert isinstance(value, float)
        assert step not in self.scalars.setdefault(name, {})
        self.scalars[name][step] = value

    def flush(self) -> None:
        assert not self.closed

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def writers(monkeypatch):
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [])
    return Writer.made


def settings(images, wanted: bool = True):
    chosen = tiny_settings(images, criterion=CRITERION, schedule="cosine")
    return chosen.model_copy(update={"tensorboard": wanted})


def test_every_scalar_of_every_step_and_the_same_weights(images, tmp_path, monkeypatch, writers):
    plain = train(settings(images, wanted=False), tmp_path / "plain")
    assert not writers
    monkeypatch.setattr(tensorboard, "KEPT_STEPS", 4)
    logged = train(settings(images), tmp_path / "logged")
    (writer,) = writers
    assert writer.folder == str(tmp_path / "logged/state/tensorboard") and writer.closed
    assert set(writer.scalars) == {
        *("loss", "vicreg_invariance", "vicreg_variance", "vicreg_covariance"),
        *("entropy", "covariance", "learning_rate"),
    }
    lines = (tmp_path / "logged/history.csv").read_text().splitlines()
    means = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    for name, values in writer.scalars.items():
        assert list(values) == list(range(1, 10))
        for epoch, row in enumerate(means):
            steps = [values[3 * epoch + step] for step in (1, 2, 3)]
            found = steps[-1] if name == "learning_rate" else sum(steps) / 3
            assert found == pytest.approx(float(row[name]))
    a, b = load_state(plain), load_state(logged)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_resumed_run_hides_what_was_logged_of_later_steps(images, tmp_path, warn_after, writers):
    warn_after(5)
    with pytest.raises(Interrupted):
        train(settings(images), tmp_path)
    train(settings(images), tmp_path)
    first, second = writers
    assert list(first.scalars["loss"]) == [1, 2, 3, 4, 5] and first.closed
    assert (first.purge_step, second.purge_step) == (1, 6)
    assert list(second.scalars["loss"]) == [6, 7, 8, 9]
    assert (tmp_path / RESULTS[0]).exists()


def test_without_the_package_the_user_is_told_what_to_install(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(E2MCError, match="pip install tensorboard"):
        train(settings(images), tmp_path)
    assert not (tmp_path / RESULTS[0]).exists()
