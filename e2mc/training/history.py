"""Averages of every epoch: the lines of history.csv."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from e2mc.errors import E2MCError


class History:
    """Finished epochs, and the sums of the one under way.

    Sums stay on the device as one float64 vector, so that logging costs no synchronisation.

    Attributes:
        rows: one mapping per finished epoch, column -> number.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._start_epoch()

    def _start_epoch(self) -> None:
        self.names: list[str] = []
        self.sums = torch.zeros(0, dtype=torch.float64)
        self.steps = 0
        self.images = 0
        self.corrupt = 0
        self.seconds = 0.0
        self.waited = 0.0

    def add(
        self, values: Mapping[str, Tensor], images: int, corrupt: int, seconds: float, waited: float
    ) -> None:
        """One step.

        Args:
            values: scalars by column name, the same names in every step; none of a step that was
                skipped, which the means leave out.
            images: in the batch over all processes.
            corrupt: of these, in whose place others stand.
            seconds: the step took.
            waited: of these, for data.
        """
        if values:
            stacked = torch.stack([value.detach().double() for value in values.values()])
            self.names = list(values)
            self.sums = stacked if self.steps == 0 else self.sums + stacked
            self.steps += 1
        self.images += images
        self.corrupt += corrupt
        self.seconds += seconds
        self.waited += waited

    def end_epoch(self, learning_rate: float) -> None:
        """Close the epoch; its row holds means over its steps.

        Raises:
            E2MCError: all of them were skipped.
        """
        if self.steps == 0:
            raise E2MCError(
                f"epoch {len(self.rows) + 1}: the loss was finite in none of its steps. Lower the "
                "learning rate or the criterion's weights, or use float32 instead of float16."
            )
        means = (self.sums / self.steps).tolist()
        row = {
            "epoch": len(self.rows) + 1,
            **dict(zip(self.names, means, strict=True)),
            "learning_rate": learning_rate,
            "corrupt_images": self.corrupt,
            "images_per_second": self.images / self.seconds,
            "data_wait_share": self.waited / self.seconds,
        }
        self.rows.append(row)
        self._start_epoch()

    def as_csv(self) -> str:
        """All finished epochs."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and plain values."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved history."""
        vars(self).update(state)
