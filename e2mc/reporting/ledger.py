"""The ledger: one line per complete run of an experiment, of what its records say."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from e2mc.config import Experiment, load_experiment
from e2mc.config.protocols import EMBEDDINGS
from e2mc.errors import E2MCError
from e2mc.files import read_json, write_text
from e2mc.plan import layout, needs
from e2mc.plan.quantities import duration
from e2mc.plan.recorded import refuse_other_settings
from e2mc.reporting.costs import costs, total
from e2mc.reporting.findings import Finding, base_name, headline
from e2mc.reporting.names import commit_name
from e2mc.reporting.results import read_scores
from e2mc.statistics import trial_interval

_HEAD = """# Complete runs

One line per complete run of an experiment, written by `e2mc ledger results/<experiment>` from the
records of its evaluations. The numbers are E²MC minus continued training in points of top-1, by
linear evaluation at each share of the labels: the mean over trials paired by seed, with its 95 %
interval.

| date | experiment | commit | machine | cost | trials | E²MC minus continued |
"""
_RULE = "|---|---|---|---|---|---|---|\n"


def record(results: Sequence[Path], ledger: Path) -> None:
    """Add the lines of complete runs to the ledger, newest first.

    Args:
        results: folders of experiments.
        ledger: file that is made or extended; lines of other runs stay as they are.

    Raises:
        E2MCError: a run is not complete, or a result is damaged or was made with other settings.
    """
    kept = ledger.read_text(encoding="utf-8").partition(_RULE)[2] if ledger.exists() else ""
    lines = {_run(line): line for line in kept.splitlines()}
    lines |= {_run(line): line for line in map(_line, results)}
    newest_first = sorted(lines.values(), reverse=True)
    write_text(ledger, _HEAD + _RULE + "".join(f"{line}\n" for line in newest_first))


def _run(line: str) -> tuple[str, ...]:
    """What identifies a run: date, experiment, commit, machine. Recorded again, it replaces its
    line.
    """
    return tuple(line.split(" | ")[:4])


def _line(results: Path) -> str:
    experiment = load_experiment(results / layout.EXPERIMENT)
    made = list(_provenances(experiment, results))
    shown = needs.table_inputs(experiment, "table1")
    refuse_other_settings(experiment, results, shown)
    found = headline(experiment, read_scores(results, shown))
    spent = total(costs(experiment, results).values())
    cells = (
        max(one.get("date", "") for one in made) or "–",
        experiment.name,
        _distinct(commit_name(one["code"], digits=10) for one in made),
        _distinct(f"{one['device']}, {one['machine']}" for one in made),
        f"{spent.gpu_hours:.1f} GPU-hours, {duration(spent.seconds)}",
        str(experiment.trials),
        _differences(experiment, found),
    )
    return f"| {' | '.join(cells)} |"


def _provenances(experiment: Experiment, results: Path) -> Iterator[dict[str, Any]]:
    """Of every evaluation."""
    cells = [cell for cell in needs.all_inputs(experiment) if cell.protocol != EMBEDDINGS]
    files = [results / layout.METRICS.format(**cell._asdict()) for cell in cells]
    missing = [file for file in files if not file.exists()]
    if missing:
        raise E2MCError(
            f"{results} is not a complete run: {len(missing)} of {len(files)} evaluations are "
            f"missing, {missing[0]} among them. Run `snakemake all` to its end first"
        )
    for file in files:
        yield read_json(file)["provenance"]


def _distinct(texts: Iterator[str]) -> str:
    return ", ".join(sorted(set(texts)))


def _differences(experiment: Experiment, found: Sequence[Finding]) -> str:
    """By base, then by share of the labels."""
    parts = []
    for base, findings in groupby(found, key=lambda finding: finding.base):
        numbers = "; ".join(_difference(finding) for finding in findings)
        parts.append(f"{base_name(experiment, base)} {numbers}")
    return "<br>".join(parts) or "–"


def _difference(finding: Finding) -> str:
    share = f"{finding.protocol.removeprefix('linear-')} %"
    low, high = trial_interval(finding.difference, finding.standard_error, finding.trials)
    return f"{share}: {finding.difference:+.2f} [{low:+.2f}, {high:+.2f}]"
