"""What the evaluations of an experiment found, read from its results folder."""

from collections.abc import Iterable
from math import isfinite, nan
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd
from scipy.stats import t

from e2mc.config import Experiment
from e2mc.config.protocols import protocol_of
from e2mc.errors import E2MCError
from e2mc.files import read_json
from e2mc.plan import layout
from e2mc.plan.needs import Cell
from e2mc.statistics import mean_and_standard_error

LEVEL = 0.05
"""Of the two-sided paired t-test that calls a difference clear."""


class Evaluations(NamedTuple):
    """What the tables of an experiment are made from.

    Attributes:
        experiment: the experiment.
        results: its results folder.
        scores: of :func:`read_scores`.
    """

    experiment: Experiment
    results: Path
    scores: pd.DataFrame


class Entry(NamedTuple):
    """One cell of a table: a mean over trials.

    Attributes:
        mean: mean of the last epoch's scores in per cent; nan if there is none.
        standard_error: standard error of `mean` over trials (ddof 1); nan below two trials.
        n: trials that the mean is over.
        expected: trials that the experiment asks for.
        best: mean of the best epoch's scores, never shown as the result.
        resolution: what one test image is worth, in per cent; 0 for mAP.
        note: what is missing or unusable, empty if nothing is.
    """

    mean: float
    standard_error: float
    n: int
    expected: int
    best: float
    resolution: float
    note: str


def address(base: str, criterion: str, protocol: str, trial: int | str = "*") -> str:
    """Folder of the evaluations behind a number, relative to the results folder."""
    identity = {"base": base, "criterion": criterion, "protocol": protocol, "trial": trial}
    return str(PurePosixPath(layout.METRICS.format(**identity)).parent)


def evaluations(experiment: Experiment, results: Path, cells: Iterable[Cell]) -> Evaluations:
    """The scores of `cells`; raises what :func:`read_scores` raises."""
    return Evaluations(experiment, results, read_scores(results, cells))


def read_scores(results: Path, cells: Iterable[Cell]) -> pd.DataFrame:
    """One line per evaluation.

    Args:
        results: the experiment's results folder.
        cells: what is wanted; an evaluation that does not exist becomes a line with a note.

    Returns:
        Columns base, criterion, trial, protocol, last, best (per cent, nan where there is none),
        n (test samples) and note.

    Raises:
        E2MCError: a file is damaged or belongs to another protocol, or two of one protocol are
            about different test sets.
    """
    lines: list[tuple[Any, ...]] = []
    first: dict[tuple[str, str], tuple[Path, Any]] = {}
    for cell in cells:
        path = results / layout.METRICS.format(**cell._asdict())
        if not path.exists():
            lines.append((*cell, nan, nan, 0, f"trial {cell.trial} missing"))
            continue
        metrics = read_json(path)
        lines.append((*cell, *_read_score(path, cell, metrics)))
        for key in {"test_samples", "test_set"} & set(metrics):
            other, value = first.setdefault((cell.protocol, key), (path, metrics[key]))
            if metrics[key] != value:
                raise E2MCError(
                    f"{other} and {path} are about different test sets ({key} {value} and "
                    f"{metrics[key]}): delete what belongs to the older one and run again"
                )
    columns = ["base", "criterion", "trial", "protocol", "last", "best", "n", "note"]
    return pd.DataFrame(lines, columns=columns)


def _read_score(path: Path, cell: Cell, metrics: Any) -> tuple[float, float, int, str]:
    try:
        protocol, samples = metrics["protocol"], int(metrics["test_samples"])
        scores = [nan if metrics[key] is None else float(metrics[key]) for key in ("last", "best")]
    except (KeyError, TypeError, ValueError) as error:
        raise E2MCError(
            f"{path} is not the result of an evaluation ({type(error).__name__}: {error}); "
            "delete it and run again"
        ) from error
    if protocol != cell.protocol:
        raise E2MCError(f"{path} holds the protocol '{protocol}'; delete it and run again")
    last, best = scores
    if not isfinite(last):
        return nan, nan, samples, f"trial {cell.trial}: the score is not a number"
    return last, best, samples, ""


def read_curve(path: Path) -> dict[int, float]:
    """Epoch -> test accuracy (per cent).

    Raises:
        E2MCError: there is no such file, or it is damaged.
    """
    try:
        content = pd.read_csv(path, index_col="epoch")
        return dict(zip(content.index.tolist(), content["top1"].astype(float), strict=True))
    except FileNotFoundError as error:
        raise E2MCError(f"{path} does not exist: run the evaluation first") from error
    except (KeyError, ValueError) as error:
        raise E2MCError(f"{path} has no columns epoch and top1; delete it and run again") from error


def summarise(scores: pd.DataFrame, base: str, criterion: str, protocol: str) -> Entry:
    """Mean and standard error of one cell over the trials that have a score."""
    chosen = select(scores, base, criterion, protocol)
    found = chosen[chosen["last"].notna()]
    note = "; ".join(text for text in chosen["note"] if text)
    if found.empty:
        return Entry(nan, nan, 0, len(chosen), nan, 0.0, note or "not evaluated")
    mean, error, n = mean_and_standard_error(found["last"].to_numpy())
    best = float(found["best"].mean())
    resolution = 0.0 if protocol_of(protocol).multilabel else 100 / int(found["n"].min())
    return Entry(mean, error, n, len(chosen), best, resolution, note)


def select(scores: pd.DataFrame, base: str, criterion: str, protocol: str) -> pd.DataFrame:
    """The lines of one cell, by trial."""
    chosen = scores[
        (scores["base"] == base)
        & (scores["criterion"] == criterion)
        & (scores["protocol"] == protocol)
    ]
    return chosen.sort_values("trial")


def paired_trials(
    scores: pd.DataFrame, base: str, reference: str, criterion: str, protocol: str
) -> pd.DataFrame:
    """Trials in which both arms have a score: columns reference and model, index trial.

    The SVMs of a checkpoint that is not trained further are one deterministic number, which
    stands for every trial.
    """
    return paired_models(scores, (base, reference, protocol), (base, criterion, protocol))


def paired_models(
    scores: pd.DataFrame, reference: tuple[str, str, str], model: tuple[str, str, str]
) -> pd.DataFrame:
    """The same of any two (base, criterion, protocol)."""
    before = select(scores, *reference).set_index("trial")["last"]
    after = select(scores, *model).set_index("trial")["last"]
    if is_deterministic(*reference[1:]) and len(before) == 1:
        before = pd.Series(float(before.iloc[0]), index=after.index)
    return pd.DataFrame({"reference": before, "model": after}).dropna()


def is_deterministic(criterion: str, protocol: str) -> bool:
    """Whether nothing varies from trial to trial: one centre crop of one checkpoint."""
    return criterion == "base" and protocol_of(protocol).deterministic


def clear_sign(pairs: pd.DataFrame, resolution: float) -> int:
    """The rule behind every bold number and every "clear": the sign of a clear difference, else 0.

    The paired t-test over the trials finds the difference at `LEVEL`, and it is more than one test
    image. Trials share what the arms share (base, seed, labels), so that they are compared trial by
    trial. One pair is never clear. The exact permutation test is no rule for so few: of three
    trials none of its p-values is below 0.25, which is printed beside.

    Args:
        pairs: of :func:`paired_trials`.
        resolution: what one test image is worth, in per cent.
    """
    if len(pairs) < 2:
        return 0
    mean, error, n = mean_and_standard_error(pairs["model"] - pairs["reference"])
    clear = abs(mean) > max(error * float(t.ppf(1 - LEVEL / 2, n - 1)), resolution)
    return (1 if mean > 0 else -1) if clear else 0
