"""Accuracy by epoch: of continued pre-training (Figure 4), and of the linear classifiers."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from e2mc.config import Experiment
from e2mc.files import check
from e2mc.plan import layout
from e2mc.plan.needs import Cell
from e2mc.reporting.drawing import WIDTH, arm_name
from e2mc.reporting.findings import base_name
from e2mc.reporting.results import read_curve

STYLES = {"base": ("#555555", ":"), "continued": ("#0072B2", "--"), "e2mc": ("#D55E00", "-")}
"""Colour and line of each arm; in grey, the lines."""

MARKERS = {"continued": "s", "e2mc": "o"}


def figure4(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """Accuracy of a probe against the epoch of continued pre-training, one panel per base."""
    bases = list(dict.fromkeys(cell.base for cell in cells))
    drawing = Figure(figsize=(WIDTH, 2.2))
    axes = drawing.subplots(1, len(bases), squeeze=False)[0]
    for panel, base in zip(axes, bases, strict=True):
        for criterion in dict.fromkeys(cell.criterion for cell in cells if cell.base == base):
            arm = [cell for cell in cells if cell[:2] == (base, criterion)]
            _curve(panel, _trials(results, arm), criterion, marker=MARKERS[criterion])
        reported = experiment.training(base, scratch=False).epochs
        panel.axvline(reported, color="#999999", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        panel.set_title(base_name(experiment, base))
        panel.set_xlabel("epoch of continued pre-training")
    axes[0].set_ylabel(f"top-1 (%), {experiment.evaluation.snapshots.percent} % of the labels")
    axes[-1].legend()
    return drawing


def figure_probe_epochs(experiment: Experiment, results: Path, cells: Sequence[Cell]) -> Figure:
    """Test accuracy of the linear classifiers by their own epoch, one panel per share."""
    bases = list(dict.fromkeys(cell.base for cell in cells))
    protocols = list(dict.fromkeys(cell.protocol for cell in cells))
    drawing = Figure(figsize=(WIDTH, 1.6 * len(bases) + 0.3))
    axes = drawing.subplots(len(bases), len(protocols), squeeze=False, sharex="col")
    for row, base in zip(axes, bases, strict=True):
        for panel, protocol in zip(row, protocols, strict=True):
            share = protocol.removeprefix("linear-")
            chosen = [cell for cell in cells if (cell.base, cell.protocol) == (base, protocol)]
            for criterion in dict.fromkeys(cell.criterion for cell in chosen):
                arm = [cell for cell in chosen if cell.criterion == criterion]
                _curve(panel, _trials(results, arm), criterion)
            panel.set_title(f"{base_name(experiment, base)}: {share} % of the labels")
        row[0].set_ylabel("top-1 (%)")
        row[-1].legend(loc="lower right")
    for panel in axes[-1]:
        panel.set_xlabel("epoch of the linear classifier")
    return drawing


def _curve(axes: Axes, trials: pd.DataFrame, criterion: str, marker: str | None = None) -> None:
    """Mean over the trials of one arm, and a band of one standard error (ddof 1)."""
    colour, line = STYLES[criterion]
    epochs, mean = trials.index.to_numpy(), trials.mean(axis=1).to_numpy()
    axes.plot(
        epochs,
        mean,
        color=colour,
        linestyle=line,
        marker=marker,
        markersize=3,
        label=arm_name(criterion),
    )
    if trials.shape[1] > 1:
        error = trials.sem(axis=1).to_numpy()
        axes.fill_between(epochs, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)


def _trials(results: Path, arm: Sequence[Cell]) -> pd.DataFrame:
    """Accuracy of each trial of one arm, epochs down."""
    columns = {cell.trial: pd.Series(_history(results, cell)) for cell in arm}
    return pd.concat(columns, axis=1, join="inner")


def _history(results: Path, cell: Cell) -> dict[int, float]:
    path = results / layout.CURVE.format(**cell._asdict())
    check(path)
    return read_curve(path)
