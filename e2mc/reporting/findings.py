"""Sentences about the results, every number and every verdict computed from the results."""

from collections.abc import Mapping
from math import isnan
from typing import NamedTuple, TypeVar

import pandas as pd

from e2mc.config import Experiment
from e2mc.config.protocols import cached_shares, online_shares
from e2mc.plan import needs
from e2mc.reporting.names import METHODS, SHORT_PROTOCOLS
from e2mc.reporting.results import LEVEL, Entry, clear_sign, paired_models, paired_trials, summarise
from e2mc.reporting.table import CODE, THIN, signed
from e2mc.statistics import mean_and_standard_error, smallest_pvalue


def clear_rule(trials: int) -> str:
    """:func:`e2mc.reporting.results.clear_sign` in words, and what a test without its assumption
    of normality could reach over so many trials.
    """
    if trials < 2:
        return "clear: nothing is with a single trial"
    return (
        f"clear: the paired t-test over the trials finds it at {100 * LEVEL:g}{THIN}%, and it is "
        f"more than one test image; an exact permutation test over {trials} trials reaches no "
        f"$p$ below {smallest_pvalue(trials):g}"
    )


Key = TypeVar("Key")


class Finding(NamedTuple):
    """E2MC against another arm of the same base, one protocol.

    Attributes:
        base: base model.
        protocol: evaluation.
        difference: mean paired difference over trials in percentage points; nan if not evaluated.
        standard_error: its standard error over trials; nan below two.
        trials: number of pairs.
        verdict: ``clearly above``, ``clearly below``, ``no clear difference`` or
            ``not evaluated``.
    """

    base: str
    protocol: str
    difference: float
    standard_error: float
    trials: int
    verdict: str


def compare_arms(
    scores: pd.DataFrame, base: str, reference: str, criterion: str, protocol: str
) -> Finding:
    """The paired difference of two arms, and whether it is clear."""
    pairs = paired_trials(scores, base, reference, criterion, protocol)
    if pairs.empty:
        return Finding(base, protocol, float("nan"), float("nan"), 0, "not evaluated")
    difference = mean_and_standard_error(pairs["model"] - pairs["reference"])
    sign = clear_sign(pairs, summarise(scores, base, criterion, protocol).resolution)
    verdict = ("no clear difference", "clearly above", "clearly below")[sign]
    return Finding(base, protocol, *difference, verdict)


def headline(experiment: Experiment, scores: pd.DataFrame) -> list[Finding]:
    """E2MC against continued training, for each base and share of the labels."""
    return [
        compare_arms(scores, name, "continued", "e2mc", protocol)
        for name, base in experiment.bases.items()
        if {"continued", "e2mc"} <= set(base.criteria)
        for protocol in needs.linear_protocols(experiment)
    ]


def base_name(experiment: Experiment, base: str) -> str:
    """Method and epochs, as in ``SwAV-400``."""
    settings = experiment.bases[base]
    return f"{METHODS[settings.method]}-{settings.epochs}"


def clause(experiment: Experiment, finding: Finding) -> str:
    """A finding in words, such as ``SwAV-400 +0.40 ± 0.10 (clearly above)``."""
    where = base_name(experiment, finding.base)
    if isnan(finding.difference):
        return f"{where}: not evaluated"
    spread = "" if isnan(finding.standard_error) else f" ± {finding.standard_error:.2f}"
    return f"{where} {signed(finding.difference)}{spread} ({finding.verdict})"


def scale(experiment: Experiment, scores: pd.DataFrame) -> str:
    """At what scale the numbers were computed, unless it is the paper's."""
    if experiment.comparable:
        return ""
    known = scores["n"][scores["n"] > 0]
    images = ", ".join(f"{count:,}" for count in sorted({int(n) for n in known})) or "none"
    return (
        f" Computed by the experiment {CODE}{experiment.name}{CODE} "
        f"({experiment.images.size}-pixel images, {images} of them for testing), not at "
        "the scale of the paper."
    )


def spread(cells: pd.DataFrame) -> str:
    """What the plus-minus of a table is."""
    counts = sorted({int(n) for n in cells["n"][cells["standard_error"].notna()]})
    if not counts:
        evaluated = bool((cells["n"] > 0).any())
        return "a single trial, no standard errors." if evaluated else "nothing is evaluated yet."
    trials = " or ".join(str(n) for n in counts)
    return f"mean ± standard error (ddof 1) over {trials} trials."


def views(experiment: Experiment) -> str:
    """How often linear classifiers saw an image anew, and which epoch is shown."""
    fresh = [SHORT_PROTOCOLS[f"linear-{percent}"] for percent in online_shares(experiment)]
    clauses = [f"a fresh view in every epoch with {' and '.join(fresh)} of the labels"] * bool(
        fresh
    )
    for percent in cached_shares(experiment):
        number = experiment.evaluation.linear.views[percent]
        share = SHORT_PROTOCOLS[f"linear-{percent}"]
        clauses.append(f"{number} cached view{'s' * (number > 1)} in turn with {share}")
    return (
        f"Linear classifiers are trained on {', '.join(clauses)}; "
        "the last epoch is reported, not the best."
    )


def bold(cells: pd.DataFrame, among: str) -> str:
    """What is bold and by which rule, or that nothing is."""
    rule = clear_rule(int(cells["n"].max()))
    if (cells["mark"] == "bold").any():
        return f"Bold: clearly the highest of {among} ({rule})."
    return f"No number is clearly the highest of {among}, so none is bold ({rule})."


def winner(
    scores: pd.DataFrame, entries: Mapping[tuple[str, str, str], Entry]
) -> list[tuple[str, str, str]]:
    """The (base, criterion, protocol) clearly above all others; empty if there is none.

    Args:
        scores: of :func:`~e2mc.reporting.results.read_scores`.
        entries: of one protocol.
    """
    found = {name: entry for name, entry in entries.items() if not isnan(entry.mean)}
    if len(found) < 2:
        return []
    best = max(found, key=lambda name: found[name].mean)
    others = [paired_models(scores, other, best) for other in found if other != best]
    resolution = found[best].resolution
    return [best] if all(clear_sign(pairs, resolution) > 0 for pairs in others) else []


def runner_up(entries: Mapping[Key, Entry]) -> list[Key]:
    """The entry with the second-highest mean; empty if two share it to two decimals."""
    means = {name: entry.mean for name, entry in entries.items() if not isnan(entry.mean)}
    ranked = sorted(means, key=lambda name: -means[name])
    shown = [f"{means[name]:.2f}" for name in ranked]
    return [ranked[1]] if len(ranked) > 1 and shown.count(shown[1]) == 1 else []
