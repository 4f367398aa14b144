"""Table D.1: significance of E2MC on one base model, image by image."""

from math import isnan, nan
from typing import Any

import pandas as pd

from e2mc.reporting import findings
from e2mc.reporting.accuracies import Line, estimate, footnote, printed, published_columns
from e2mc.reporting.names import E2MC, PROTOCOLS
from e2mc.reporting.published import published_test
from e2mc.reporting.results import Evaluations, address, paired_trials, summarise
from e2mc.reporting.significance import Comparison, compare_images, compare_over_trials
from e2mc.reporting.statistics_tables import TEST_COLUMNS, TESTS, test_cells
from e2mc.reporting.table import Cell, Column, Interval, Row, Shown, Statistic, Table, signed

SIGNIFICANCE = 0.05
"""Level of Table D.1 (the paper's)."""

_ARMS = ("base", "e2mc")
_SAME_TRIAL = Column("$Δ$ within a trial", "r", detail=True)


def cells(found: Evaluations) -> pd.DataFrame:
    """One line per protocol: the tests, the trials, the means, and what the paper printed.

    The tests are of the trials nearest each mean, as in the paper, which need not be the same:
    ``same_trial_differences`` are those between the two models of one trial.
    """
    scores = found.scores
    base = str(scores["base"].iloc[0])
    comparisons = [(base, *_ARMS, str(name)) for name in scores["protocol"].unique()]
    tests = compare_images(found.results, scores, comparisons)
    trials = compare_over_trials(scores, comparisons)
    across = trials[["trials", "permutation_pvalue", "smallest_pvalue"]].add_prefix("across_")
    beside = pd.DataFrame([_beside(found, comparison) for comparison in comparisons])
    return pd.concat([tests, across, beside], axis=1)


def _beside(found: Evaluations, comparison: Comparison) -> dict[str, Any]:
    """Means over trials, and what the paper printed."""
    base, _, _, protocol = comparison
    columns: dict[str, Any] = {}
    for criterion in _ARMS:
        entry = summarise(found.scores, base, criterion, protocol)
        columns[f"{criterion}_mean"] = entry.mean
        columns[f"{criterion}_standard_error"] = entry.standard_error
        columns[f"{criterion}_n"] = entry.n
        accuracy = published_columns(found.experiment, base, criterion, protocol)
        columns |= {f"{criterion}_{key}": value for key, value in accuracy.items()}
    pairs = paired_trials(found.scores, base, *_ARMS, protocol)
    differences = (pairs["model"] - pairs["reference"]) / 100
    columns |= {
        "same_trial_differences": " ".join(f"{difference:+.4f}" for difference in differences),
        "same_trial_lowest": differences.min(),
        "same_trial_highest": differences.max(),
    }
    test = published_test(found.experiment.bases[base].published, protocol)
    return columns | {
        "published_difference": nan if test is None else test.difference,
        "published_permutation_p": "" if test is None else test.permutation_p,
        "published_cohens_d": nan if test is None else test.cohens_d,
        "published_mcnemar_chi2": nan if test is None else test.mcnemar_chi2,
        "published_mcnemar_p": "" if test is None else test.mcnemar_p,
    }


def lay_out(found: Evaluations, frame: pd.DataFrame) -> Table:
    """A row per protocol: both means over trials, then the test of one model per side."""
    columns = [Column("Protocol"), Column("Base", "c"), Column(f"+ {E2MC}", "c")]
    return Table(
        "table_d1",
        "Table D.1: significance",
        _caption(found, frame),
        [*columns, *TEST_COLUMNS.values(), _SAME_TRIAL],
        [[_row(line) for line in frame.to_dict("records")]],
        published="below" if found.experiment.comparable else "",
        dense=True,
    )


def _row(line: Line) -> Row:
    means = [
        Cell(
            estimate(line, f"{arm}_"),
            link=address(line["base"], arm, line["protocol"]),
            published=printed(line, f"{arm}_"),
            footnote=footnote(line, f"{arm}_"),
        )
        for arm in _ARMS
    ]
    tests = test_cells(line)
    if not isnan(line["published_difference"]):
        in_paper: dict[str, Shown] = {
            "difference": Statistic(line["published_difference"], 3, sign=True),
            "permutation_p": line["published_permutation_p"],
            "cohens_d": Statistic(line["published_cohens_d"]),
            "mcnemar_chi2": Statistic(line["published_mcnemar_chi2"]),
            "mcnemar_p": line["published_mcnemar_p"],
        }
        tests |= {key: tests[key]._replace(published=value) for key, value in in_paper.items()}
    same_trial = Cell(
        Interval(line["same_trial_lowest"], line["same_trial_highest"]),
        link=address(line["base"], _ARMS[1], line["protocol"]),
    )
    return Row([Cell(PROTOCOLS[line["protocol"]]), *means, *tests.values(), same_trial])


def _caption(found: Evaluations, frame: pd.DataFrame) -> str:
    base = findings.base_name(found.experiment, str(frame["base"].iloc[0]))
    counts = sorted({int(n) for n in frame["n"].dropna()})
    images = " or ".join(f"{n:,}" for n in counts) or "no"
    means = frame[["e2mc_n", "e2mc_standard_error"]]
    spread = findings.spread(means.rename(columns=lambda name: name.removeprefix("e2mc_")))
    return (
        f"Significance of {E2MC} for {base} on {images} test images. {spread.capitalize()} "
        "$Δ$ (a fraction) and the tests are of one model per side, the trial nearest the mean "
        f"with the fewest labels: {TESTS} Holm: permutation $p$ adjusted for the {len(frame)} "
        f"rows. {_same_trial(frame)}{_verdict(frame)}{_across(frame)}"
        + findings.scale(found.experiment, found.scores)
    )


def _verdict(frame: pd.DataFrame) -> str:
    significant = frame[frame["holm_pvalue"] <= SIGNIFICANCE]
    tested = int(frame["holm_pvalue"].notna().sum())
    if significant.empty:
        return f"None of {tested} differences is significant at {SIGNIFICANCE} after Holm. "
    clauses = [
        f"{PROTOCOLS[line['protocol']]} ({'above' if line['difference'] > 0 else 'below'} the base)"
        for line in significant.to_dict("records")
    ]
    return (
        f"Significant at {SIGNIFICANCE} after Holm, {len(clauses)} of {tested}: "
        f"{'; '.join(clauses)}. "
    )


def _same_trial(frame: pd.DataFrame) -> str:
    """Whether the tested pairs say what the pairs of one trial say."""
    tested = frame.dropna(subset=["trial", "reference_trial"])
    others = int((tested["trial"] != tested["reference_trial"]).sum())
    lead = f"{others} of {len(tested)} rows test models of different trials. " if others else ""
    turned = [
        f"{PROTOCOLS[line['protocol']]} ({signed(line['same_trial_lowest'], 3)} to "
        f"{signed(line['same_trial_highest'], 3)})"
        for line in tested.to_dict("records")
        if line["same_trial_lowest"] * line["difference"] < 0
        or line["same_trial_highest"] * line["difference"] < 0
    ]
    if not turned:
        return f"{lead}No difference within a trial has another sign than $Δ$. "
    return f"{lead}Differences within a trial have another sign than $Δ$ for {'; '.join(turned)}. "


def _across(frame: pd.DataFrame) -> str:
    tested = frame.dropna(subset=["across_permutation_pvalue"])
    if tested.empty:
        return ""
    smallest = float(tested["across_smallest_pvalue"].max())
    return (
        f"Over the {int(tested['across_trials'].min())} trials themselves no permutation test can "
        f"reach a $p$ below {smallest:g}."
    )
