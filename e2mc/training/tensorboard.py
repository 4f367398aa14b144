"""TensorBoard events of a run, for those who ask for them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from e2mc.errors import E2MCError
from e2mc.training.distributed import Place

KEPT_STEPS = 100
"""Steps whose values wait on the device: fetching each by itself would stall a GPU."""


class Events:
    """Writes the scalars of every step to `<run directory>/tensorboard`.

    Args:
        folder: run directory.
        step: steps done; what a killed run wrote of later ones is hidden.

    Raises:
        E2MCError: the package `tensorboard` is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.writer = _writer(folder / "tensorboard", step + 1)
        self.waiting: list[tuple[int, list[str], Tensor]] = []

    def add(self, step: int, values: Mapping[str, Tensor], learning_rate: float) -> None:
        """The scalars of one step, by tag."""
        rate = torch.tensor(learning_rate, dtype=torch.float64)
        names = [*values, "learning_rate"]
        scalars = [value.detach().double() for value in values.values()]
        self.waiting.append((step, names, torch.stack([*scalars, rate.to(scalars[0].device)])))
        if len(self.waiting) == KEPT_STEPS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for step, names, values in self.waiting:
            for name, value in zip(names, values.tolist(), strict=True):
                self.writer.add_scalar(name, value, step)
        self.waiting.clear()
        self.writer.flush()


def _writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise E2MCError(
            "`tensorboard: true` needs the package of that name: pip install tensorboard, or set "
            f"`tensorboard: false` ({error})"
        ) from error
    return SummaryWriter(str(folder), purge_step=first_step)


@contextmanager
def written_events(wanted: bool, folder: Path, step: int, place: Place) -> Iterator[Events | None]:
    """Events if they are wanted, of one process for all.

    They are complete however the block ends, kill -9 excepted.
    """
    if not wanted or place.rank > 0:
        yield None
        return
    events = Events(folder, step)
    try:
        yield events
    finally:
        events.flush()
        events.writer.close()
