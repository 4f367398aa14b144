"""What an experiment found, what it cost, what made it and how it was configured, on one page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import digest, read_json
from e2mc.plan import layout, needs
from e2mc.plan.quantities import duration
from e2mc.reporting.costs import costs, total
from e2mc.reporting.frames import read_csv
from e2mc.reporting.html import Page, Section, number
from e2mc.reporting.names import commit_name
from e2mc.reporting.reproduction import VERDICTS
from e2mc.reporting.table import Cell, Column, Row, Table


def overview(experiment: Experiment, results: Path) -> Page:
    """The first page to read: summary, verdicts, cost, provenance, configuration.

    Results that do not exist are left out of the counts.

    Raises:
        E2MCError: the summary or the comparison with the paper is not written yet.
    """
    for file in needs.page_sources("overview"):
        if not (results / file).exists():
            raise E2MCError(f"{results / file} does not exist: write it before its page")
    tables = [
        verdicts(results),
        cost_by_stage(experiment, results),
        provenance(experiment, results),
    ]
    sections = [
        Section("What was found", text=(results / layout.SUMMARY).read_text(encoding="utf-8")),
        *(Section(table.title, tables=[table]) for table in tables),
        configuration(experiment),
    ]
    return Page(f"Experiment {experiment.name}", [experiment.description], sections)


def configuration(experiment: Experiment) -> Section:
    """Every key of the experiment, defaults included."""
    content = experiment.model_dump(mode="json")
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    hashed = f"Hash of the whole: {digest(content)}."
    return Section("Configuration", [hashed], text=text, folded=True)


def _records(experiment: Experiment, results: Path) -> dict[str, Any]:
    """Every metrics file that exists, by its path."""
    cells = needs.page_inputs(experiment, "overview")
    files = [
        *needs.trainings(experiment),
        *(layout.METRICS.format(**cell._asdict()) for cell in cells),
    ]
    return {file: read_json(results / file) for file in files if (results / file).exists()}


def verdicts(results: Path) -> Table:
    """How many published cells have which verdict."""
    found = read_csv(results / layout.TABLE_CSV.format(table="reproduction"))["verdict"]
    rows = [(verdict, str((found == verdict).sum())) for verdict in VERDICTS]
    caption = "How many of the published accuracies have which verdict."
    columns = [Column("Verdict"), Column("Cells", "r")]
    return _table("verdicts", "Published accuracies", caption, columns, rows)


def cost_by_stage(experiment: Experiment, results: Path) -> Table:
    """What the jobs recorded."""
    found = costs(experiment, results)
    rows = [
        (stage, str(cost.jobs), number(cost.gpu_hours), duration(cost.seconds), str(cost.restarts))
        for stage, cost in [*found.items(), ("sum", total(found.values()))]
    ]
    caption = (
        "As the jobs recorded them: GPUs held times hours, and wall-clock as if one job had run "
        "after another. What was computed before a restart counts in trainings, fine-tuning and "
        "extraction, which go on where they were. Tables and figures are not in it: Snakemake's "
        "own times of every job stand under Statistics."
    )
    columns = [
        Column("Stage"),
        *(Column(head, "r") for head in ("Jobs", "GPU-hours", "Time", "Restarts")),
    ]
    return _table("costs", "Cost by stage", caption, columns, rows)


def provenance(experiment: Experiment, results: Path) -> Table:
    """Each combination of code, packages and machine, with the number of results it made."""
    made: Counter[tuple[str, ...]] = Counter()
    for record in _records(experiment, results).values():
        source = record.get("provenance")
        if source:
            code = source["code"]
            packages = [f"{name} {version}" for name, version in source["packages"].items()]
            commit = commit_name(code)
            python = f"Python {source['python']}"
            made[commit, ", ".join([python, *packages]), source["machine"], source["device"]] += 1
    rows = [(*texts, str(results)) for texts, results in made.most_common()]
    caption = "How many results which code, packages and machine have made."
    columns = [*map(Column, ("Commit", "Packages", "Machine", "Device")), Column("Results", "r")]
    return _table("provenance", "What made the results", caption, columns, rows)


def _table(
    name: str,
    title: str,
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[tuple[str, ...]],
) -> Table:
    return Table(name, title, caption, columns, [[Row([*map(Cell, row)]) for row in rows]])
