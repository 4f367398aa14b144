"""What an experiment found, what it cost, what made it and how it was configured, on one page."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from e2mc.config import Experiment
from e2mc.files import digest, read_json
from e2mc.plan import layout, needs
from e2mc.provenance import duration
from e2mc.reporting.costs import costs, total
from e2mc.reporting.page import Group, Page, Row, Section, Shown, number
from e2mc.reporting.reproduction import VERDICTS


def overview(experiment: Experiment, results: Path) -> Page:
    """The first page to read: summary, verdicts, cost, provenance, configuration.

    Results that do not exist are left out of the counts.
    """
    found = _records(experiment, results)
    configuration = experiment.model_dump(mode="json")
    configured = yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)
    paragraphs = ["Hash of the whole: " + digest(configuration) + "."]
    sections = [
        Section("What was found", text=(results / layout.SUMMARY).read_text(encoding="utf-8")),
        _verdicts(results),
        _costs(experiment, results),
        _provenance(found),
        Section("Configuration", paragraphs, text=configured),
    ]
    return Page(f"Experiment {experiment.name}", [experiment.description], sections)


def _records(experiment: Experiment, results: Path) -> dict[str, Any]:
    """Every metrics file that exists, by its path."""
    cells = needs.page_inputs(experiment, "overview")
    files = [
        *needs.trainings(experiment),
        *(layout.METRICS.format(**cell._asdict()) for cell in cells),
    ]
    return {file: read_json(results / file) for file in files if (results / file).exists()}


def _verdicts(results: Path) -> Section:
    verdicts = pd.read_csv(results / layout.TABLE_CSV.format(table="reproduction"))["verdict"]
    rows = [(verdict, str((verdicts == verdict).sum())) for verdict in VERDICTS]
    return _section("Published accuracies", [], ["Verdict", "Cells"], rows)


def _costs(experiment: Experiment, results: Path) -> Section:
    found = costs(experiment, results)
    rows = [
        (stage, str(cost.jobs), number(cost.gpu_hours), duration(cost.seconds), str(cost.restarts))
        for stage, cost in [*found.items(), ("sum", total(found.values()))]
    ]
    notes = [
        "As the jobs recorded them: GPUs held times hours, and wall-clock as if one job had run "
        "after another. What was computed before a restart counts in trainings, fine-tuning and "
        "extraction, which go on where they were. Tables and figures are not in it: Snakemake's "
        "own times of every job stand under Statistics."
    ]
    head = ["Stage", "Jobs", "GPU-hours", "Time", "Restarts"]
    return _section("Cost by stage", notes, head, rows)


def _provenance(found: dict[str, Any]) -> Section:
    """Each combination of code, packages and machine, with the number of results it made."""
    made: Counter[tuple[str, ...]] = Counter()
    for record in found.values():
        source = record.get("provenance")
        if source:
            code = source["code"]
            packages = [f"{name} {version}" for name, version in source["packages"].items()]
            commit = (code["commit"] or "unknown") + (" with changes" if code["dirty"] else "")
            python = f"Python {source['python']}"
            made[commit, ", ".join([python, *packages]), source["machine"], source["device"]] += 1
    rows = [(str(results), *texts) for texts, results in made.most_common()]
    head = ["Results", "Commit", "Packages", "Machine", "Device"]
    return _section("What made the results", [], head, rows)


def _section(
    title: str, notes: list[str], head: list[str], rows: Sequence[tuple[str, ...]]
) -> Section:
    shown = [Row([Shown(text) for text in row]) for row in rows]
    return Section(title, notes, head=head, groups=[Group(shown)])
