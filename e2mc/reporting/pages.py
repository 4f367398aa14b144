"""The tables and tests of an experiment as pages of the HTML report.

Every number is a link to the evaluations it was computed from, which stand at the end of its page
with links to their files and with the code, settings and machine that made them.
"""

import os
from collections.abc import Iterable
from math import nan
from pathlib import Path

from e2mc.config import Experiment
from e2mc.files import read_json, write_text
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell as Evaluation
from e2mc.plan.recorded import refuse_other_settings
from e2mc.reporting.html import Page, Section, render
from e2mc.reporting.names import criterion_name, protocol_name
from e2mc.reporting.overview import overview
from e2mc.reporting.results import address, read_curve
from e2mc.reporting.table import Cell, Column, Row, Statistic, Table
from e2mc.reporting.tables import laid_out


def write_page(experiment: Experiment, results: Path, name: str, output: Path) -> None:
    """Write one page of the report.

    Args:
        experiment: the experiment.
        results: its results folder.
        name: one of :func:`~e2mc.plan.needs.pages`.
        output: destination, one HTML file that fetches nothing; the links to files hold as long
            as it keeps its place relative to `results`.

    Raises:
        E2MCError: the experiment has no such page, what it shows is not written yet, or a result
            is damaged or was made with other settings.
    """
    cells = needs.page_inputs(experiment, name)
    refuse_other_settings(experiment, results, cells)
    if name == "overview":
        page = overview(experiment, results)
    else:
        tables = laid_out(experiment, results, name)
        sections = [Section(tables=tables), evaluations_section(results, cells)]
        page = Page(tables[0].title, [], sections)
    root = Path(os.path.relpath(results, output.parent)).as_posix()
    write_text(output, render(page._replace(root=f"{root}/")))


def evaluations_section(results: Path, cells: Iterable[Evaluation]) -> Section:
    """What the links of numbers lead to: a table per number, a row per trial."""
    numbers: dict[str, list[Evaluation]] = {}
    for cell in cells:
        numbers.setdefault(address(cell.base, cell.criterion, cell.protocol), []).append(cell)
    paragraph = (
        "Where the numbers above lead. Names of files are links where this page is opened from "
        "its folder: scores and provenance, predictions image by image, the curve by epoch."
    )
    tables = [_evaluations(results, name, trials) for name, trials in numbers.items()]
    return Section("Evaluations", [paragraph], tables=tables)


_COLUMNS = [
    Column("Trial"),
    Column("Last epoch (%)", "r"),
    Column("Best epoch (%)", "r"),
    Column("Tested on", "r"),
    Column("Scores"),
    Column("Predictions"),
    Column("Curve"),
    Column("Code"),
    Column("Settings"),
    Column("Device"),
]
_FILES = (layout.METRICS, layout.PREDICTIONS, layout.CURVE)


def _evaluations(results: Path, name: str, trials: list[Evaluation]) -> Table:
    base, criterion, _, protocol = trials[0]
    title = f"{base}, {criterion_name(criterion)}, {protocol_name(protocol)}"
    return Table(name, title, title, _COLUMNS, [[_trial(results, trial) for trial in trials]])


def _trial(results: Path, evaluation: Evaluation) -> Row:
    base, criterion, trial, protocol = evaluation
    anchor = address(base, criterion, protocol, trial)
    paths = [pattern.format(**evaluation._asdict()) for pattern in _FILES]
    if not (results / paths[0]).exists():
        missing = [Cell(str(trial)), Cell("not evaluated")]
        return Row([*missing, *[Cell()] * (len(_COLUMNS) - len(missing))], anchor)
    files = [
        Cell(Path(path).name, file=path) if (results / path).exists() else Cell() for path in paths
    ]
    if files[-1].file:
        files[-1] = files[-1]._replace(curve=list(read_curve(results / paths[-1]).values()))
    metrics = read_json(results / paths[0])
    scores = (nan if metrics[key] is None else metrics[key] for key in ("last", "best"))
    source = metrics.get("provenance", {})
    code = source.get("code", {})
    commit = (code.get("commit") or "unknown")[:10] + ("+" if code.get("dirty") else "")
    made = [commit, source.get("settings_hash", ""), source.get("device", "")]
    return Row(
        [
            Cell(str(trial)),
            *(Cell(Statistic(score)) for score in scores),
            Cell(f"{metrics['test_samples']:,}"),
            *files,
            *map(Cell, made),
        ],
        anchor,
    )
