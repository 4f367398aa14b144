"""What an experiment found, what it cost, what made it and how it was configured, on one page."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from e2mc import layout
from e2mc.config import Experiment
from e2mc.files import digest, read_json
from e2mc.reporting import needs
from e2mc.reporting.page import Group, Page, Row, Section, Shown, number
from e2mc.reporting.reproduction import VERDICTS


def overview(experiment: Experiment, results: Path) -> Page:
    """The first page to read: summary, verdicts, seconds, provenance, configuration.

    Results that do not exist are left out of the counts.
    """
    found = _records(experiment, results)
    configuration = experiment.model_dump(mode="json")
    configured = yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)
    paragraphs = ["Hash of the whole: " + digest(configuration) + "."]
    sections = [
        Section("What was found", text=(results / layout.SUMMARY).read_text(encoding="utf-8")),
        _verdicts(results),
        _seconds(found),
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


def _seconds(found: dict[str, Any]) -> Section:
    """Jobs and device seconds by stage.

    Shares of the labels are evaluated by one process one after another, and each records the time
    since the process began: the longest counts.
    """
    jobs: dict[tuple[str, str, str], float] = defaultdict(float)
    for file, record in found.items():
        folder, _, name = file.removesuffix("/metrics.json").rpartition("/")
        source, cost = record.get("provenance", {}), record.get("cost", {})
        stage = folder if folder == "scratch" else file.split("/")[0]
        if stage == "evaluate":
            stage = name.split("-")[0]
        seconds = cost.get("seconds", source.get("wall_seconds", 0.0)) * cost.get("processes", 1)
        device = "CPU" if cost.get("device", source.get("device", "cpu")) == "cpu" else "GPU"
        job = folder if stage in ("linear", "semisup") else file
        jobs[stage, device, job] = max(jobs[stage, device, job], seconds)
    count = Counter((stage, device) for stage, device, _ in jobs)
    total: Counter[tuple[str, str]] = Counter()
    for (stage, device, _), seconds in jobs.items():
        total[stage, device] += seconds  # type: ignore[assignment]
    rows = [
        (stage, device, str(number_of_jobs), number(total[stage, device], 0))
        for (stage, device), number_of_jobs in count.items()
    ]
    notes = [
        "Seconds of all processes, as the jobs recorded them; what was computed before a restart "
        "counts in training only. Extracting features, tables and figures are not in it: "
        "Snakemake's own times of every job stand under Statistics."
    ]
    return _section("Seconds by stage", notes, ["Stage", "Device", "Jobs", "Seconds"], rows)


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
