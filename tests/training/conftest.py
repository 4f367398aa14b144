import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from e2mc.methods import Method
from e2mc.training import resumable
from tests.training.tiny import write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def save_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "SAVE_SECONDS", 0.0)


@pytest.fixture
def warn_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Slurm's warning comes while some steps are done, in this process and those it forks."""

    def warn(*chosen: int) -> None:
        def after_step(method: Method, step: int, steps: int) -> None:
            if step in chosen:
                signal.raise_signal(signal.SIGUSR2)

        monkeypatch.setattr(Method, "after_step", after_step)

    return warn
