"""The paper's figures, and one more, as PNG and PDF with the same bytes every time."""

from collections.abc import Callable, Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import atomic_write
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.plan.recorded import refuse_other_settings
from e2mc.reporting.curves import figure4, figure_probe_epochs
from e2mc.reporting.marginals import figure2, figure_d1
from e2mc.reporting.separability import figure3

FIXED_METADATA = {"pdf": {"CreationDate": None}, "png": {"Software": None}}

DRAWERS: dict[str, Callable[[Experiment, Path, Sequence[Cell]], Figure]] = {
    "figure2": figure2,
    "figure3": figure3,
    "figure4": figure4,
    "figure_d1": figure_d1,
    "figure_probe_epochs": figure_probe_epochs,
}


def write_figure(experiment: Experiment, results: Path, figure: str, paths: Iterable[Path]) -> None:
    """Draw one figure and write it to each path, in the format of its suffix.

    Args:
        experiment: the experiment.
        results: its results folder.
        figure: one of `needs.FIGURE_NAMES`.
        paths: destinations, ``.pdf`` or ``.png``.

    Raises:
        E2MCError: no such figure, or what it is drawn from is missing, damaged, of another shape or
            made with other settings.
    """
    cells = needs.figure_inputs(experiment, figure)
    if not cells:
        wanted = "figures.figure4" if figure == "figure4" else "a base that is trained with e2mc"
        raise E2MCError(f"{figure} needs {wanted}; this experiment has none")
    refuse_other_settings(experiment, results, cells)
    with as_file(files("e2mc.reporting") / "paper.mplstyle") as sheet, style.context(sheet):
        drawing = DRAWERS[figure](experiment, results, cells)
        for path in paths:
            kind = path.suffix.removeprefix(".")
            if kind not in FIXED_METADATA:
                raise E2MCError(f"cannot write {path}: figures are .pdf or .png")
            with atomic_write(path) as temporary:
                drawing.savefig(temporary, format=kind, metadata=FIXED_METADATA[kind])
