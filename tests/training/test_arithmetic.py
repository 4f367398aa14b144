"""What is said of GPUs can be read back on any machine, and a CPU's bits do not change."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from e2mc import provenance
from e2mc.models.store import load_state
from e2mc.training import arithmetic
from e2mc.training.arithmetic import set_arithmetic
from tests.training.tiny import CRITERION, tiny_settings, train

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def without_importing_the_compiler(mode: bool, *, warn_only: bool) -> None:
        torch._C._set_deterministic_algorithms(mode, warn_only=warn_only)

    monkeypatch.setattr(torch, "use_deterministic_algorithms", without_importing_the_compiler)
    monkeypatch.setenv(CUBLAS, "")
    monkeypatch.delenv(CUBLAS)
    backends = torch.backends
    before = [
        (backend, name, getattr(backend, name))
        for backend, names in (
            (backends.cudnn, ("allow_tf32", "benchmark", "deterministic")),
            (backends.cuda.matmul, ("allow_tf32",)),
        )
        for name in names
    ]
    yield
    for backend, name, value in before:
        setattr(backend, name, value)
    torch._C._set_deterministic_algorithms(False)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("tf32", [False, True])
def test_both_options_reach_the_gpu_and_the_record(
    images: Path, monkeypatch: pytest.MonkeyPatch, tf32: bool, deterministic: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    options = {"tf32": tf32, "deterministic": deterministic}
    set_arithmetic(tiny_settings(images).model_copy(update=options))
    assert arithmetic.os.environ.get(CUBLAS) == (":4096:8" if deterministic else None)
    assert torch.backends.cudnn.deterministic is deterministic
    assert provenance._arithmetic() is None, "no GPU was used"
    used = SimpleNamespace(is_initialized=lambda: True)
    monkeypatch.setattr(provenance, "cuda_in_use", lambda: used)
    assert provenance._arithmetic() == {
        "tf32_convolutions": tf32,
        "tf32_products": False,
        "fastest_algorithms": not deterministic,
        "deterministic": deterministic,
    }


def test_a_cpu_does_the_same_either_way(images: Path, tmp_path: Path) -> None:
    plain = tiny_settings(images, criterion=CRITERION, epochs=1)
    other = plain.model_copy(update={"tf32": False, "deterministic": True})
    first, second = (
        load_state(train(one, tmp_path / name))
        for name, one in (("plain", plain), ("other", other))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.are_deterministic_algorithms_enabled(), "which would slow a CPU down"
