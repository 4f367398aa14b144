"""The ledger: one line per complete run of an experiment, and Table 1 of the last run of each."""

from collections.abc import Iterable, Iterator, Sequence
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
from e2mc.reporting.html import plain
from e2mc.reporting.names import commit_name
from e2mc.reporting.results import read_scores
from e2mc.reporting.table import THIN
from e2mc.reporting.tables import laid_out
from e2mc.statistics import trial_interval

_HEAD = """# Complete runs

One line per complete run of an experiment, written by `e2mc ledger results/<experiment>` from the
records of its evaluations. The numbers are E²MC minus continued training in points of top-1, by
linear evaluation at each share of the labels: the mean over trials paired by seed, with its 95 %
interval. Below stands Table 1 of each experiment, from the run that was recorded last.

| date | experiment | commit | machine | cost | trials | E²MC minus continued |
"""
_RULE = "|---|---|---|---|---|---|---|\n"
_SECTION = "\n## Table 1 of "
_PLAIN_SPACES = str.maketrans({THIN: " ", "\u00a0": " "})


def record(results: Sequence[Path], ledger: Path) -> None:
    """Add the lines of complete runs to the ledger, newest first.

    Args:
        results: folders of experiments.
        ledger: file that is made or extended; lines of other runs stay as they are.

    Raises:
        E2MCError: a run is not complete, or a result is damaged or was made with other settings.
    """
    kept = ledger.read_text(encoding="utf-8").partition(_RULE)[2] if ledger.exists() else ""
    before, *sections = kept.split(_SECTION)
    lines = {_run(line): line for line in before.splitlines()}
    tables = {section.partition("\n")[0]: section for section in sections}
    for folder in results:
        experiment = load_experiment(folder / layout.EXPERIMENT)
        line = _line(experiment, folder)
        lines[_run(line)] = line
        tables[experiment.name] = _table1(experiment, folder, line)
    newest_first = sorted(lines.values(), reverse=True)
    below = [_SECTION + tables[name] for name in sorted(tables)]
    write_text(ledger, _HEAD + _RULE + "".join([f"{line}\n" for line in newest_first] + below))


def _run(line: str) -> tuple[str, ...]:
    """What identifies a run: date, experiment, commit, machine. Recorded again, it replaces its
    line.
    """
    return tuple(line.strip("| ").split(" | ")[:4])


def _line(experiment: Experiment, results: Path) -> str:
    made = list(_provenances(experiment, results))
    shown = needs.table_inputs(experiment, "table1")
    refuse_other_settings(experiment, results, shown)
    found = headline(experiment, read_scores(results, shown))
    spent = total(costs(experiment, results).values())
    cells = (
        max(one.get("date", "") for one in made) or "–",
        experiment.name,
        _distinct(commit_name(one["code"], digits=10) for one in made),
        _distinct(f"{one['device']}, {one['machine'].partition('-')[0]}" for one in made),
        f"{spent.gpu_hours:.1f} GPU-hours, {duration(spent.seconds)}",
        str(experiment.trials),
        _differences(experiment, found),
    )
    return _row(cells)


def _row(cells: Iterable[str]) -> str:
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


def _table1(experiment: Experiment, results: Path, line: str) -> str:
    """A section of the ledger in Markdown."""
    date, name, commit, _ = _run(line)
    (table,) = laid_out(experiment, results, "table1")
    heads = [" ".join(filter(None, (column.group, column.head))) for column in table.columns]
    shown = [[cell.shown for cell in row.cells] for group in table.groups for row in group]
    rows = [[one if isinstance(one, str) else plain(one) for one in row] for row in shown]
    written = [heads, ["---"] * len(heads), *rows]
    return (
        f"{name}\n\nTop-1 in per cent, mean ± standard error over "
        f"{experiment.trials} trials; {date}, commit {commit}.\n\n"
        + "".join(f"{_row(row)}\n" for row in written)
    ).translate(_PLAIN_SPACES)
