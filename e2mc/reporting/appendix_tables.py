"""Table D.1, significance of one base model's differences, and Table D.2, the grid of weights."""

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from e2mc.config import Experiment
from e2mc.config.stages import grid_criteria
from e2mc.reporting import findings, latex
from e2mc.reporting.accuracies import PUBLISHED, evaluation, published_columns
from e2mc.reporting.names import PROTOCOLS
from e2mc.reporting.published import published, published_test
from e2mc.reporting.results import summarise
from e2mc.reporting.significance import Comparison, compare_images, compare_over_trials

SIGNIFICANCE = 0.05
"""Level of Table D.1 (the paper's)."""


def table_d1(
    experiment: Experiment, results: Path, scores: pd.DataFrame
) -> tuple[pd.DataFrame, str]:
    """Table D.1: E2MC against its base, image by image."""
    base = str(scores["base"].iloc[0])
    comparisons = [(base, "base", "e2mc", str(name)) for name in scores["protocol"].unique()]
    tests = compare_images(results, scores, comparisons)
    trials = compare_over_trials(scores, comparisons)
    across = trials[["trials", "permutation_pvalue", "smallest_pvalue"]].add_prefix("across_")
    beside = pd.DataFrame([_beside(experiment, scores, comparison) for comparison in comparisons])
    frame = pd.concat([tests, across, beside], axis=1)
    name = findings.base_name(experiment, base)
    caption = (
        f"Significance of {latex.E2MC} for {name} on {_images(tests)} test images. "
        f"{findings.spread(beside.rename(columns=_E2MC_COLUMNS)).capitalize()} "
        r"$\Delta$ (a fraction) and the tests are of one model per side, the trial nearest the "
        "mean with the fewest labels: exact two-sided permutation test, paired Cohen's $d$, "
        r"McNemar's $\chi^2$ without continuity correction. Holm: permutation $p$ adjusted for the "
        f"{len(tests)} rows. {_verdict(tests)}{_across(trials)}"
        + findings.scale(experiment, scores)
    )
    head = latex.row(
        [
            *("Protocol", "Base", f"+ {latex.E2MC}", r"$\Delta$", "Perm.\\ $p$", "$d$"),
            *(r"$\chi^2$", "$p(\\chi^2)$", "Holm $p$"),
        ]
    )
    rows = [row for line in frame.to_dict("records") for row in _d1_rows(experiment, line)]
    if experiment.comparable:
        caption += " Second lines, in parentheses: published."
    return frame, latex.table(caption, "table_d1", "lccrrrrrr", [head], [rows], r"\scriptsize")


_E2MC_COLUMNS = {"e2mc_n": "n", "e2mc_standard_error": "standard_error"}


def _beside(experiment: Experiment, scores: pd.DataFrame, comparison: Comparison) -> dict[str, Any]:
    """Means over trials, and what the paper printed."""
    base, _, _, protocol = comparison
    columns: dict[str, Any] = {}
    for criterion in ("base", "e2mc"):
        entry = summarise(scores, base, criterion, protocol)
        columns[f"{criterion}_mean"] = entry.mean
        columns[f"{criterion}_standard_error"] = entry.standard_error
        columns[f"{criterion}_n"] = entry.n
        printed = published_columns(experiment, base, criterion, protocol)
        columns |= {f"{criterion}_{key}": value for key, value in printed.items()}
    test = published_test(experiment.bases[base].published, protocol)
    fields = ("difference", "permutation_p", "cohens_d", "mcnemar_chi2", "mcnemar_p")
    return columns | {
        f"published_{name}": nan if test is None else getattr(test, name) for name in fields
    }


def _images(tests: pd.DataFrame) -> str:
    counts = sorted({int(n) for n in tests["n"].dropna()})
    return " or ".join(f"{n:,}" for n in counts) or "no"


def _verdict(tests: pd.DataFrame) -> str:
    significant = tests[tests["holm_pvalue"] <= SIGNIFICANCE]
    tested = int(tests["holm_pvalue"].notna().sum())
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


def _across(trials: pd.DataFrame) -> str:
    tested = trials.dropna(subset=["permutation_pvalue"])
    if tested.empty:
        return ""
    smallest = float(tested["smallest_pvalue"].max())
    return (
        f"Over the {int(tested['trials'].min())} trials themselves no permutation test can reach "
        f"a $p$ below {smallest:g}."
    )


def _d1_rows(experiment: Experiment, line: dict[Any, Any]) -> list[str]:
    computed = [
        PROTOCOLS[line["protocol"]],
        *(latex.estimate(line[f"{arm}_mean"], line[f"{arm}_standard_error"]) for arm in _ARMS),
        latex.signed(line["difference"], 3),
        latex.pvalue(line["permutation_pvalue"]),
        latex.plain(line["cohens_d"]),
        latex.plain(line["mcnemar_statistic"]),
        latex.pvalue(line["mcnemar_pvalue"]),
        latex.pvalue(line["holm_pvalue"]),
    ]
    if not experiment.comparable or isnan(line["published_difference"]):
        return [latex.row(computed)]
    printed = [
        latex.signed(line["published_difference"], 3),
        line["published_permutation_p"].replace("<", "$<$"),
        latex.plain(line["published_cohens_d"]),
        latex.plain(line["published_mcnemar_chi2"]),
        line["published_mcnemar_p"].replace("<", "$<$"),
    ]
    small = [rf"{{\scriptsize({text})}}" for text in printed]
    means = [latex.printed(*(line[f"{arm}_{key}"] for key in PUBLISHED)) for arm in _ARMS]
    return [latex.row(computed), latex.row(["", *means, *small, ""])]


_ARMS = ("base", "e2mc")


def table_d2(experiment: Experiment, scores: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Table D.2: accuracy over a grid of the two weights, differences to neither term."""
    ablation = experiment.tables.table_d2
    assert ablation is not None
    protocols = [str(name) for name in scores["protocol"].unique()]
    named = list(zip(ablation.grid, grid_criteria(experiment), strict=True))
    frame = pd.DataFrame(
        [
            {"beta": beta, "gamma": gamma, "criterion": criterion, "protocol": protocol}
            | _d2_cell(experiment, scores, (beta, gamma), criterion, protocol)
            for (beta, gamma), criterion in named
            for protocol in protocols
        ]
    )
    first = frame.groupby("protocol")["mean"].transform("first")
    frame.insert(7, "difference", frame["mean"] - first)
    unit = ", ".join(f"{weight:g}" for weight in ablation.unit)
    units = f" in units of ({unit})" if set(ablation.unit) != {1.0} else ""
    caption = (
        rf"Weights $\beta$ of the entropy and $\gamma$ of the covariance{units}: top-1 accuracy "
        rf"(\%) of linear classifiers, {findings.base_name(experiment, ablation.base)}; "
        f"{findings.spread(frame)} Arrows: difference to the first row. Nothing is bold: "
        f"{len(named)} settings are searched without a test. {_d2_counts(frame)}"
        + findings.scale(experiment, scores)
    )
    if experiment.comparable:
        caption += " In parentheses: published."
    heads = [f"Linear, {PROTOCOLS[name].removeprefix('linear, ')}" for name in protocols]
    head = latex.row([r"$\beta$", r"$\gamma$", *heads])
    rows = [_d2_rows(experiment, frame, weights, protocols) for weights, _ in named]
    groups = [rows[0], [line for group in rows[1:] for line in group]]
    return frame, latex.table(caption, "table_d2", "rr" + "c" * len(protocols), [head], groups)


def _d2_cell(
    experiment: Experiment,
    scores: pd.DataFrame,
    weights: tuple[float, float],
    criterion: str,
    protocol: str,
) -> dict[str, Any]:
    ablation = experiment.tables.table_d2
    assert ablation is not None
    entry = summarise(scores, ablation.base, criterion, protocol)
    row = experiment.bases[ablation.base].published
    printed = published(row, f"grid-{weights[0]:g}-{weights[1]:g}", protocol)
    return {
        "mean": entry.mean,
        "standard_error": entry.standard_error,
        "n": entry.n,
        "published": nan if printed is None else printed.mean,
        "note": entry.note,
        "evaluation": evaluation(ablation.base, criterion, protocol),
    }


def _d2_counts(frame: pd.DataFrame) -> str:
    clauses = []
    for protocol, column in frame.groupby("protocol", sort=False):
        others = column["difference"].iloc[1:].dropna().round(9)
        above, below = int((others > 0).sum()), int((others < 0).sum())
        clauses.append(f"{PROTOCOLS[str(protocol)]}: {above} above and {below} below")
    return f"Of the {len(frame) // len(clauses) - 1} other rows, {'; '.join(clauses)} the first."


def _d2_rows(
    experiment: Experiment,
    frame: pd.DataFrame,
    weights: tuple[float, float],
    protocols: Sequence[str],
) -> list[str]:
    chosen = frame[(frame["beta"] == weights[0]) & (frame["gamma"] == weights[1])]
    cells = []
    for cell in chosen.to_dict("records"):
        text = latex.estimate(cell["mean"], cell["standard_error"])
        if weights != tuple(frame[["beta", "gamma"]].iloc[0]) and not isnan(cell["difference"]):
            text += _arrow(cell["difference"])
        if experiment.comparable and not isnan(cell["published"]):
            text += rf" {{\scriptsize({cell['published']:.2f})}}"
        cells.append(text)
    assert len(cells) == len(protocols)
    return [latex.row([*(f"{weight:g}" for weight in weights), *cells])]


def _arrow(difference: float) -> str:
    size = f"{abs(difference):.2f}"
    if float(size) == 0:
        return r" {\scriptsize$=$}"
    arrow = r"\uparrow" if difference > 0 else r"\downarrow"
    return rf" {{\scriptsize${arrow}$\,{size}}}"
