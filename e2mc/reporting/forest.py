"""A forest plot: one line per comparison, its estimate and its interval over a common axis.

Positions are in per cent of the plot's width, so that a page draws it at any width without
scaling its text.
"""

from collections.abc import Sequence
from itertools import groupby
from math import isnan
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from e2mc.config import Experiment
from e2mc.reporting.findings import Finding, base_name
from e2mc.reporting.names import SHORT_PROTOCOLS
from e2mc.reporting.results import address
from e2mc.reporting.table import Cell, Estimate, Interval
from e2mc.statistics import trial_interval

MARGIN = 3.0
"""Per cent of the width left free at either side, for the marks."""


class Tick(NamedTuple):
    """A value of the axis and where it stands."""

    value: float
    position: float


class Line(NamedTuple):
    """One comparison.

    Attributes:
        label: what distinguishes it within its group.
        difference: in percentage points, with a link to the evaluations of the criterion's side.
        interval: of the difference, 95 %, paired over trials; nan below two trials.
        position: of the difference; None if there is none.
        ends: of the interval; None if there is none.
        clear: whether the verdict says above or below.
        verdict: in words.
    """

    label: str
    difference: Cell
    interval: Interval
    position: float | None
    ends: tuple[float, float] | None
    clear: bool
    verdict: str


class Forest(NamedTuple):
    """All lines by group, and their axis."""

    groups: Sequence[tuple[str, Sequence[Line]]]
    ticks: Sequence[Tick]
    zero: float


def forest(experiment: Experiment, found: Sequence[Finding]) -> Forest:
    """Lay out E2MC against continued training, grouped by base."""
    intervals = [trial_interval(one.difference, one.standard_error, one.trials) for one in found]
    differences = [one.difference for one in found]
    values = [value for value in (0.0, *differences, *sum(intervals, ())) if not isnan(value)]
    low, high = (min(values), max(values)) if any(values) else (-1.0, 1.0)
    locator = MaxNLocator(nbins=5, steps=[1, 2, 5, 10])
    steps = [float(step) for step in locator.tick_values(low, high)]

    def position(value: float) -> float:
        return float(round(MARGIN + (100 - 2 * MARGIN) * (value - low) / (high - low), 2))

    def line(one: Finding, interval: tuple[float, float]) -> Line:
        estimate = Estimate(one.difference, one.standard_error, one.trials, sign=True)
        return Line(
            SHORT_PROTOCOLS[one.protocol],
            Cell(estimate, link=address(one.base, "e2mc", one.protocol)),
            Interval(*interval, decimals=2),
            None if isnan(one.difference) else position(one.difference),
            None if isnan(interval[0]) else (position(interval[0]), position(interval[1])),
            one.verdict.startswith("clearly"),
            one.verdict,
        )

    lines = zip(found, intervals, strict=True)
    groups = [
        (base_name(experiment, base), [line(*pair) for pair in pairs])
        for base, pairs in groupby(lines, key=lambda pair: pair[0].base)
    ]
    ticks = [Tick(step, position(step)) for step in steps if low <= step <= high]
    return Forest(groups, ticks, position(0.0))
