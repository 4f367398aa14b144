from math import nan

import pytest

from e2mc.config import Experiment
from e2mc.reporting.findings import Finding
from e2mc.reporting.forest import MARGIN, forest
from tests.reporting.synthetic_results import experiment

FOUND = [
    Finding("vicreg-60", "linear-1", 1.0, 0.5, 3, "clearly above"),
    Finding("vicreg-60", "linear-10", -0.5, 0.1, 3, "no clear difference"),
    Finding("swav-60", "linear-1", 0.25, nan, 1, "no clear difference"),
    Finding("swav-60", "linear-10", nan, nan, 0, "not evaluated"),
]


@pytest.fixture
def settings() -> Experiment:
    return experiment()


def test_lines_are_grouped_by_base(settings: Experiment) -> None:
    plot = forest(settings, FOUND)
    assert [(base, len(lines)) for base, lines in plot.groups] == [("VICReg-60", 2), ("SwAV-60", 2)]
    first = plot.groups[0][1][0]
    assert first.clear
    assert first.difference.link == "evaluate/vicreg-60/e2mc/trial*/linear-1"


def test_the_axis_is_linear_and_holds_every_interval(settings: Experiment) -> None:
    plot = forest(settings, FOUND)
    lines = [line for _, group in plot.groups for line in group]
    # t quantile of 2 degrees of freedom at 97.5 %, as printed in tables
    low, high = 1 - 4.303 * 0.5, 1 + 4.303 * 0.5
    assert lines[0].interval[:2] == pytest.approx((low, high), abs=1e-3)
    assert lines[0].ends == pytest.approx((MARGIN, 100 - MARGIN), abs=0.01)
    scale = (100 - 2 * MARGIN) / (high - low)
    marks = [(one.value, one.position) for one in plot.ticks] + [(0, plot.zero)]
    marks += [(one.difference.shown[0], one.position) for one in lines if one.position is not None]
    for value, position in marks:
        assert position == pytest.approx(MARGIN + (value - low) * scale, abs=0.02)
    assert 0.0 in [one.value for one in plot.ticks]


def test_what_is_not_known_is_not_drawn(settings: Experiment) -> None:
    single, nothing = forest(settings, FOUND).groups[1][1]
    assert single.position is not None and single.ends is None
    assert nothing.position is None and nothing.ends is None


def test_no_difference_at_all_still_has_an_axis(settings: Experiment) -> None:
    plot = forest(settings, [Finding("swav-60", "linear-1", 0.0, 0.0, 3, "no clear difference")])
    assert plot.zero == pytest.approx(50)
