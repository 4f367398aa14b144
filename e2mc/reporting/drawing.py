"""What the figures share: the width of a page, names of models, arrays from files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import check
from e2mc.plan.needs import Cell
from e2mc.reporting.findings import base_name
from e2mc.reporting.names import criterion_name

WIDTH = 6.75
"""Inches: two columns of a conference page."""


def load(path: Path) -> NDArray[np.floating[Any]]:
    """An array from a file, as a memory map.

    Raises:
        E2MCError: it is missing or damaged.
    """
    check(path)
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise E2MCError(f"{path} does not exist: run its stage first") from error
    except (ValueError, EOFError) as error:
        raise E2MCError(f"{path} is damaged ({error}); delete it and run again") from error


def arm_name(criterion: str) -> str:
    """A criterion as legends have it."""
    name = criterion_name(criterion).replace("²", "$^2$")
    return "+ " + name if criterion == "e2mc" else name


def model_name(experiment: Experiment, cell: Cell) -> str:
    """A model as titles have it: the base, and what was added."""
    name = base_name(experiment, cell.base)
    return f"{name} {arm_name(cell.criterion)}" if cell.criterion == "e2mc" else name
