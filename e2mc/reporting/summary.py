"""The last lines on the screen: where the results are and what they show."""

from itertools import groupby
from math import isnan
from pathlib import Path

from e2mc.config import Experiment
from e2mc.plan import layout, needs
from e2mc.plan.recorded import refuse_other_settings
from e2mc.reporting.costs import costs, total
from e2mc.reporting.findings import Finding, base_name, clear_rule, headline
from e2mc.reporting.results import read_scores
from e2mc.reporting.table import THIN


def summary(experiment: Experiment, results: Path) -> str:
    """What an experiment found, in a few lines of plain text.

    For each base, E2MC against continued training at each share of the labels: the mean
    difference in points, paired by trial, its standard error over the trials, and a verdict by the
    rule of :func:`~e2mc.reporting.results.clear_sign`. In the end what it all has cost.
    """
    shown = needs.table_inputs(experiment, "table1")
    refuse_other_settings(experiment, results, shown)
    scores = read_scores(results, shown)
    lines = [
        f"{experiment.name}: open {results / layout.FRONT_PAGE}; tables in {results / 'tables'}, "
        f"figures in {results / 'figures'}",
        "E2MC minus continued training, top-1 points (mean +- standard error over trials):",
    ]
    found = headline(experiment, scores)
    for base, group in groupby(found, key=lambda finding: finding.base):
        cells = "; ".join(_cell(finding) for finding in group)
        lines.append(f"  {base_name(experiment, base):<14}{cells}")
    if not found:
        lines.append("  no base is trained with both")
    spent = total(costs(experiment, results).values())
    return "\n".join([*lines, _verdict(experiment, found), f"It took {spent}."])


def _cell(finding: Finding) -> str:
    share = f"{finding.protocol.removeprefix('linear-')} %"
    if isnan(finding.difference):
        return f"{share}: not evaluated"
    spread = "" if isnan(finding.standard_error) else f" +- {finding.standard_error:.2f}"
    return f"{share}: {finding.difference:+.2f}{spread} (n={finding.trials}, {finding.verdict})"


def _verdict(experiment: Experiment, found: list[Finding]) -> str:
    evaluated = [finding for finding in found if finding.trials]
    above = sum(finding.verdict == "clearly above" for finding in evaluated)
    below = sum(finding.verdict == "clearly below" for finding in evaluated)
    scale = "" if experiment.comparable else " at this scale, which is not the paper's"
    rule = clear_rule(experiment.trials).replace("$", "").replace(THIN, " ")
    return (
        f"E2MC is clearly above continued training in {above} and clearly below in {below} of "
        f"{len(evaluated)} comparisons{scale}.\n({rule[0].upper()}{rule[1:]}.)"
    )
