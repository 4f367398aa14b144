"""Tests of the differences between models: over test images, and over trials."""

from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from e2mc.config import Experiment
from e2mc.files import write_text
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell
from e2mc.plan.recorded import refuse_other_settings
from e2mc.reporting.compare import compare_prediction_files
from e2mc.reporting.frames import to_csv
from e2mc.reporting.results import (
    is_deterministic,
    paired_trials,
    read_scores,
    select,
    summarise,
)
from e2mc.statistics import (
    compare_trials,
    detectable_by_images,
    detectable_by_trials,
    holm,
    trials_needed,
)

Comparison = tuple[str, str, str, str]
"""(base, reference, criterion, protocol): the model trained with `criterion` against `reference`,
which is `base` or `continued`."""


def write_statistics(experiment: Experiment, results: Path) -> None:
    """Write ``statistics/significance.csv`` and ``statistics/trials.csv``."""
    for name, frame in significance(experiment, results).items():
        write_text(results / layout.STATISTICS.format(name=name), to_csv(frame))


def significance(experiment: Experiment, results: Path) -> dict[str, pd.DataFrame]:
    """All tests of an experiment.

    Returns:
        ``significance``: Table D.1 extended to every base, criterion and protocol: one pair of
        models per line, tested over the test images (over classes for VOC07). ``trials``: the
        same differences tested over the trials, with the smallest p-value that so few trials can
        reach, and what could be detected.

    Raises:
        E2MCError: two models' predictions are for different test samples, or a result is damaged
            or was made with other settings.
    """
    cells = needs.statistics_inputs(experiment)
    refuse_other_settings(experiment, results, cells)
    scores = read_scores(results, cells)
    evaluated = dict.fromkeys((cell.base, cell.criterion, cell.protocol) for cell in cells)
    comparisons = [
        (base, reference, criterion, protocol)
        for reference in ("base", "continued")
        for base, criterion, protocol in evaluated
        if criterion not in ("base", reference) and (base, reference, protocol) in evaluated
    ]
    return {
        "significance": compare_images(results, scores, comparisons),
        "trials": compare_over_trials(scores, comparisons),
    }


def compare_images(
    results: Path, scores: pd.DataFrame, comparisons: Sequence[Comparison]
) -> pd.DataFrame:
    """Paired tests of one model per side, the trial nearest the mean at the fewest labels.

    Holm's adjustment is over one family per base and reference, the lines that answer "does this
    base model get better?". It adjusts the permutation p-value, which every protocol has.

    Args:
        results: the experiment's results folder.
        scores: of :func:`~e2mc.reporting.results.read_scores`.
        comparisons: which pairs of models.

    Returns:
        A line per comparison; accuracies, differences and intervals are fractions.

    Raises:
        E2MCError: two models' predictions are for different test samples.
    """
    lines = [_compare_pair(results, scores, comparison) for comparison in comparisons]
    frame = pd.DataFrame(lines, columns=_COLUMNS)
    for _, family in frame[frame["permutation_pvalue"].notna()].groupby(["base", "reference"]):
        frame.loc[family.index, "holm_pvalue"] = holm(family["permutation_pvalue"].to_numpy())
        frame.loc[family.index, "family_size"] = len(family)
    return frame.astype(dict.fromkeys(_COUNTS, "Int64"))


_PAIR = ("base", "reference", "criterion", "protocol")
_COUNTS = ("reference_trial", "trial", "n", "gained", "lost", "family_size", "resamples")
_COLUMNS = [
    *_PAIR,
    "reference_trial",
    "trial",
    "n",
    "difference",
    "interval_low",
    "interval_high",
    "confidence",
    "gained",
    "lost",
    "permutation_pvalue",
    "resamples",
    "holm_pvalue",
    "family_size",
    "mcnemar_statistic",
    "mcnemar_pvalue",
    "mcnemar_corrected_statistic",
    "mcnemar_corrected_pvalue",
    "cohens_d",
    "odds_ratio",
    "detectable_difference",
    "note",
]
_TRIAL_COLUMNS = [
    *_PAIR,
    "trials",
    "difference",
    "standard_error",
    "interval_low",
    "interval_high",
    "permutation_pvalue",
    "smallest_pvalue",
    "t_pvalue",
    "detectable_difference",
    "trials_needed",
    "note",
]


def _compare_pair(results: Path, scores: pd.DataFrame, comparison: Comparison) -> dict[str, Any]:
    base, reference, criterion, protocol = comparison
    line: dict[str, Any] = dict(zip(_PAIR, comparison, strict=True))
    line |= {"holm_pvalue": nan, "family_size": nan, "note": ""}
    before = typical_trial(scores, base, reference, protocol)
    after = typical_trial(scores, base, criterion, protocol)
    if before is None or after is None:
        return line | {"note": "not evaluated"}
    paths = [
        results / layout.PREDICTIONS.format(**Cell(base, name, trial, protocol)._asdict())
        for name, trial in ((reference, before), (criterion, after))
    ]
    (test,) = compare_prediction_files(paths[0], paths[1:])
    line |= {name: test[name] for name in _COLUMNS if name in test and name not in line}
    line |= {"reference_trial": before, "trial": after}
    if "gained" not in test:
        return line | {"note": "n counts classes"}
    if discordant := test["gained"] + test["lost"]:
        line["detectable_difference"] = detectable_by_images(test["n"], discordant / test["n"])
    return line


def typical_trial(scores: pd.DataFrame, base: str, criterion: str, protocol: str) -> int | None:
    """The trial whose score at the fewest labels is nearest the mean (the paper's D.1).

    One model per side serves all its protocols. Of equally near trials the first; None if there
    is no such trial of this protocol.
    """
    evaluated = select(scores, base, criterion, protocol)
    trials = [int(trial) for trial in evaluated["trial"][evaluated["last"].notna()]]
    shares = [name for name in scores["protocol"].unique() if name.startswith("linear-")]
    fewest = min(shares, key=lambda name: int(name.split("-")[1]), default=protocol)
    probe = select(scores, base, criterion, fewest).set_index("trial")["last"].dropna()
    distance = {
        int(trial): round(abs(score - probe.mean()), 9)
        for trial, score in zip(probe.index, probe, strict=True)
    }
    return min(trials, key=lambda trial: (distance.get(trial, 100.0), trial), default=None)


def compare_over_trials(scores: pd.DataFrame, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The same comparisons over trials, paired by seed; differences in percentage points."""
    lines = [_compare_trials(scores, comparison) for comparison in comparisons]
    return pd.DataFrame(lines, columns=_TRIAL_COLUMNS)


def _compare_trials(scores: pd.DataFrame, comparison: Comparison) -> dict[str, Any]:
    base, reference, criterion, protocol = comparison
    pairs = paired_trials(scores, base, reference, criterion, protocol)
    notes = [
        f"{name}: {note}"
        for name in (reference, criterion)
        if (note := summarise(scores, base, name, protocol).note)
    ]
    if is_deterministic(reference, protocol):
        notes.append("the reference is one deterministic number")
    line: dict[str, Any] = dict(zip(_PAIR, comparison, strict=True))
    line |= {"trials": len(pairs), "note": "; ".join(notes)}
    if pairs.empty:
        return line
    test = compare_trials(pairs["reference"], pairs["model"])
    line |= test._asdict()
    deviation = test.standard_error * test.trials**0.5
    if deviation > 0:
        line["detectable_difference"] = detectable_by_trials(test.trials, deviation)
        line["trials_needed"] = trials_needed(test.difference, deviation)
    return line
