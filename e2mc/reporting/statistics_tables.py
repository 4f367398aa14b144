"""The tests of an experiment, laid out: over test images, and over trials."""

from collections.abc import Callable, Sequence

import pandas as pd

from e2mc.reporting import findings
from e2mc.reporting.accuracies import Line
from e2mc.reporting.names import PROTOCOLS, criterion_name
from e2mc.reporting.results import Evaluations, address
from e2mc.reporting.table import (
    THIN,
    Cell,
    Column,
    Estimate,
    Interval,
    PValue,
    Row,
    Shown,
    Statistic,
    Table,
)

TEST_COLUMNS = {
    "n": Column("$n$", "r", detail=True),
    "difference": Column("$Δ$", "r"),
    "interval": Column("95 % interval", "r", detail=True),
    "gained": Column("Gained", "r", detail=True),
    "lost": Column("Lost", "r", detail=True),
    "permutation_p": Column("Perm.\u00a0$p$", "r"),
    "cohens_d": Column("$d$", "r"),
    "mcnemar_chi2": Column("$χ²$", "r"),
    "mcnemar_p": Column("$p(χ²)$", "r"),
    "holm_p": Column("Holm $p$", "r"),
}
"""Of a test over images: in the paper's order and under its heads, and what it leaves out."""

TESTS = (
    "exact two-sided permutation test, paired Cohen's $d$, McNemar's $χ²$ without continuity "
    "correction."
)

_PAIR_COLUMNS = [Column("Base"), Column("Reference"), Column("Criterion"), Column("Protocol")]


def test_cells(line: Line) -> dict[str, Cell]:
    """One test over images, in the columns of :data:`TEST_COLUMNS`."""
    shown: dict[str, Shown] = {
        "n": _count(line["n"]),
        "difference": Statistic(line["difference"], 3, sign=True),
        "interval": Interval(line["interval_low"], line["interval_high"]),
        "gained": _count(line["gained"]),
        "lost": _count(line["lost"]),
        "permutation_p": PValue(line["permutation_pvalue"]),
        "cohens_d": Statistic(line["cohens_d"]),
        "mcnemar_chi2": Statistic(line["mcnemar_statistic"]),
        "mcnemar_p": PValue(line["mcnemar_pvalue"]),
        "holm_p": PValue(line["holm_pvalue"]),
    }
    link = _link(line, "criterion", "trial")
    return {key: Cell(value, link=link) for key, value in shown.items()}


def significance_table(found: Evaluations, frame: pd.DataFrame) -> Table:
    """Every test over the test images."""
    columns = [
        *_PAIR_COLUMNS,
        *TEST_COLUMNS.values(),
        Column("Odds ratio", "r"),
        Column("Detectable", "r"),
        Column("Note"),
    ]
    return Table(
        "significance",
        "Paired tests over the test images",
        "Differences (fractions) of each criterion from its base and from continued training, of "
        f"one model per side, the trial nearest the mean with the fewest labels: {TESTS} Gained "
        "and lost: images that only the criterion's model and only the reference's classify "
        "correctly. Holm: permutation $p$ adjusted within each base and reference. Detectable: "
        f"smallest difference that a test at 5{THIN}% finds with a power of 80{THIN}%."
        + findings.scale(found.experiment, found.scores),
        columns,
        _families(frame, _image_cells),
        headers=len(_PAIR_COLUMNS),
        dense=True,
    )


def trials_table(found: Evaluations, frame: pd.DataFrame) -> Table:
    """The same differences over the trials."""
    columns = [
        *_PAIR_COLUMNS,
        Column("Trials", "r"),
        Column("$Δ$", "r"),
        Column("95 % interval", "r", detail=True),
        Column("$t$-test $p$", "r"),
        Column("Perm.\u00a0$p$", "r"),
        Column("Smallest $p$", "r"),
        Column("Detectable", "r"),
        Column("Trials needed", "r"),
        Column("Note"),
    ]
    return Table(
        "trials",
        "Paired tests over the trials",
        "Differences (percentage points, mean ± standard error over trials) of each criterion from "
        "its base and from continued training, paired by trial. Interval: BCa bootstrap, too "
        "narrow for so few trials. Smallest $p$: what so few trials can reach in a permutation "
        "test. Detectable: smallest difference that as many trials find "
        f"at 5{THIN}% with a power of 80{THIN}%; needed: trials to find the difference at hand."
        + findings.scale(found.experiment, found.scores),
        columns,
        _families(frame, _trial_cells),
        headers=len(_PAIR_COLUMNS),
        dense=True,
    )


def _families(frame: pd.DataFrame, cells: Callable[[Line], Sequence[Cell]]) -> list[list[Row]]:
    """A group per base and reference, within which Holm's adjustment is made."""
    return [
        [Row([*_pair(line), *cells(line)]) for line in lines.to_dict("records")]
        for _, lines in frame.groupby(["reference", "base"], sort=False)
    ]


def _pair(line: Line) -> list[Cell]:
    return [
        Cell(line["base"]),
        Cell(criterion_name(line["reference"]), link=_link(line, "reference", "reference_trial")),
        Cell(criterion_name(line["criterion"]), link=_link(line, "criterion", "trial")),
        Cell(PROTOCOLS[line["protocol"]]),
    ]


def _image_cells(line: Line) -> list[Cell]:
    link = _link(line, "criterion", "trial")
    return [
        *test_cells(line).values(),
        Cell(Statistic(line["odds_ratio"]), link=link),
        Cell(Statistic(line["detectable_difference"], 3), link=link),
        Cell(line["note"]),
    ]


def _trial_cells(line: Line) -> list[Cell]:
    shown = (
        _count(line["trials"]),
        Estimate(line["difference"], line["standard_error"], sign=True),
        Interval(line["interval_low"], line["interval_high"]),
        PValue(line["t_pvalue"]),
        PValue(line["permutation_pvalue"]),
        PValue(line["smallest_pvalue"]),
        Statistic(line["detectable_difference"]),
        _count(line["trials_needed"]),
    )
    link = _link(line, "criterion", "trial")
    return [*(Cell(value, link=link) for value in shown), Cell(line["note"])]


def _link(line: Line, arm: str, trial: str) -> str:
    """To the one model of a test over images, to all trials of any other number."""
    chosen = line.get(trial)
    which = "*" if chosen is None or pd.isna(chosen) else f"{chosen:g}"
    return address(line["base"], line[arm], line["protocol"], which)


def _count(value: float) -> Statistic:
    return Statistic(float("nan") if pd.isna(value) else float(value), 0)
