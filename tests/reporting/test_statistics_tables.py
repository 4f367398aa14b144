"""The tests laid out: which line of the CSV stands where, and where its numbers lead."""

from math import nan
from pathlib import Path

import pandas as pd

from e2mc.config import Experiment
from e2mc.reporting.results import Evaluations
from e2mc.reporting.statistics_tables import significance_table, trials_table
from e2mc.reporting.table import Estimate, Interval, PValue, Statistic, Table

NO_SCORES = pd.DataFrame({"n": [400]})
PAIR = {"reference": "base", "criterion": "e2mc", "protocol": "linear-1"}
TEST = {
    **PAIR,
    "reference_trial": 1.0,
    "trial": 2.0,
    "n": 400.0,
    "difference": 0.02,
    "interval_low": 0.005,
    "interval_high": 0.04,
    "gained": 10.0,
    "lost": 2.0,
    "permutation_pvalue": 0.04,
    "holm_pvalue": 0.08,
    "mcnemar_statistic": 5.33,
    "mcnemar_pvalue": 0.02,
    "cohens_d": 0.1,
    "odds_ratio": 5.0,
    "detectable_difference": 0.03,
    "note": "",
}


def columns(table: Table, row: int = 0) -> dict[str, object]:
    """What one row shows, by the heads of its columns."""
    rows = [row for group in table.groups for row in group]
    heads = [column.head for column in table.columns]
    return dict(zip(heads, [cell.shown for cell in rows[row].cells], strict=True))


def test_a_test_over_images(settings: Experiment) -> None:
    found = Evaluations(settings, Path(), NO_SCORES)
    table = significance_table(found, pd.DataFrame([{"base": "swav-60"} | TEST]))
    assert columns(table) == {
        "Base": "swav-60",
        "Reference": "base",
        "Criterion": "E²MC",
        "Protocol": "linear, 1\u202f%",
        "$n$": Statistic(400, 0),
        "$Δ$": Statistic(0.02, 3, True),
        "95 % interval": Interval(0.005, 0.04),
        "Gained": Statistic(10, 0),
        "Lost": Statistic(2, 0),
        "Perm.\u00a0$p$": PValue(0.04),
        "$d$": Statistic(0.1),
        "$χ²$": Statistic(5.33),
        "$p(χ²)$": PValue(0.02),
        "Holm $p$": PValue(0.08),
        "Odds ratio": Statistic(5.0),
        "Detectable": Statistic(0.03, 3),
        "Note": "",
    }
    links = {cell.link for cell in table.groups[0][0].cells}
    reference, model = (
        f"evaluate/swav-60/{arm}/linear-1" for arm in ("base/trial1", "e2mc/trial2")
    )
    assert links == {"", reference, model}


def test_rows_between_two_rules_are_one_family_of_holm(settings: Experiment) -> None:
    lines = [
        {"base": base} | TEST | {"reference": reference}
        for reference in ("base", "continued")
        for base in ("swav-60", "vicreg-60")
        for _ in range(2)
    ]
    table = significance_table(Evaluations(settings, Path(), NO_SCORES), pd.DataFrame(lines))
    families = [[tuple(cell.shown for cell in row.cells[:2]) for row in g] for g in table.groups]
    assert families == [
        [("swav-60", "base")] * 2,
        [("vicreg-60", "base")] * 2,
        [("swav-60", "continued")] * 2,
        [("vicreg-60", "continued")] * 2,
    ]


def test_a_test_over_trials_leads_to_all_of_them(settings: Experiment) -> None:
    line = PAIR | {
        "base": "swav-60",
        "trials": 3,
        "difference": -0.5,
        "standard_error": 0.25,
        "interval_low": -1.0,
        "interval_high": 0.0,
        "permutation_pvalue": 0.5,
        "smallest_pvalue": 0.25,
        "t_pvalue": 0.18,
        "detectable_difference": 1.5,
        "trials_needed": nan,
        "note": "base: trial 2 missing",
    }
    table = trials_table(Evaluations(settings, Path(), NO_SCORES), pd.DataFrame([line]))
    shown = columns(table)
    assert shown["$Δ$"] == Estimate(-0.5, 0.25, sign=True)
    assert (shown["Trials"], shown["Smallest $p$"]) == (Statistic(3, 0), PValue(0.25))
    assert shown["$t$-test $p$"] == PValue(0.18)
    assert shown["Note"] == "base: trial 2 missing"
    assert table.groups[0][0].cells[5].link == "evaluate/swav-60/e2mc/trial*/linear-1"
