"""Every example runs, in a short form."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import e2mc.vision  # noqa: F401 - mends torchvision, which other packages import, if need be

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small to share; threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_minimal(capsys: pytest.CaptureFixture[str]) -> None:
    accuracies = example("minimal").main(["--epochs", "4", "--further", "1"])
    assert set(accuracies) == {"base", "continued", "E2MC"}
    assert min(accuracies.values()) > 0.3, "three times chance"
    assert "entropy" in capsys.readouterr().out


def test_lightning_callback() -> None:
    pytest.importorskip("lightning")
    logged = example("lightning_callback").main(epochs=2)
    assert set(logged) == {"base_loss", "entropy", "covariance"}
    assert all(torch.isfinite(torch.tensor(list(logged.values()))))


@pytest.mark.filterwarnings("error:.*embeddings without gradient")
def test_lightly_simsiam() -> None:
    pytest.importorskip("lightly")
    history = example("lightly_simsiam").main(steps=30)
    assert history[-1]["base"] < history[0]["base"]
