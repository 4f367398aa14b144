"""Where the checks of GPUs run, and what they have measured."""

import os
from collections.abc import Iterator

import pytest
import torch

from e2mc.config.settings import OnGPU
from e2mc.training.arithmetic import set_arithmetic

REHEARSE = "E2MC_REHEARSE"
"""Set to 1, it lets the checks run on a CPU, in small: they then prove that they can run."""

measured: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if os.environ.get(REHEARSE) == "1":
        return
    for item in items:
        marker = item.get_closest_marker("gpu")
        if marker is not None and gpus < marker.kwargs.get("number", 1):
            wanted = marker.kwargs.get("number", 1)
            item.add_marker(pytest.mark.skip(reason=f"{gpus} GPU(s) here, {wanted} needed"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if measured:
        terminalreporter.section("measured")
        for line in measured:
            terminalreporter.line(line)


@pytest.fixture
def say() -> list[str]:
    """Lines for the end of the report."""
    return measured


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The first GPU, exact in float32; the CPU in a rehearsal."""
    if torch.cuda.is_available():
        set_arithmetic(OnGPU(tf32=False))
        yield torch.device("cuda", 0)
        set_arithmetic(OnGPU())
    else:
        yield torch.device("cpu")
