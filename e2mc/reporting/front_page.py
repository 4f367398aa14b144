"""The front page: what was asked, the answer, and everything behind it in one file.

Made from the same neutral tables as the LaTeX and the report's pages. It needs no network and no
script; its links to files hold as long as it lies in the results folder.
"""

from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import write_text
from e2mc.plan import layout, needs
from e2mc.reporting import findings, overview
from e2mc.reporting.findings import Finding
from e2mc.reporting.forest import forest
from e2mc.reporting.html import PLUS_MINUS, Lead, Page, Picture, Section, number, render
from e2mc.reporting.names import E2MC, FIGURES, SHORT_PROTOCOLS
from e2mc.reporting.pages import evaluations_section
from e2mc.reporting.results import read_scores
from e2mc.reporting.tables import laid_out

_CONTINUED = "continued training without it"


def write_front_page(experiment: Experiment, results: Path, output: Path) -> None:
    """Write the front page of an experiment.

    Args:
        experiment: the experiment.
        results: its results folder.
        output: destination, in the results folder.

    Raises:
        E2MCError: a table, a test or a figure is not written yet, or a result is damaged.
    """
    first, *others = needs.tables(experiment)
    sections = [
        *(_table(experiment, results, name) for name in others),
        *_figures(experiment, results),
        *(_table(experiment, results, name) for name in needs.STATISTICS_NAMES),
        *_verdicts(experiment, results),
        *_records(experiment, results),
    ]
    page = Page(
        f"{E2MC}: experiment {experiment.name}",
        [experiment.description] if experiment.description else [],
        sections,
        lead=_lead(experiment, results, first),
    )
    write_text(output, render(page))


def _lead(experiment: Experiment, results: Path, table: str) -> Lead:
    scores = read_scores(results, needs.table_inputs(experiment, table))
    found = findings.headline(experiment, scores)
    plot = forest(experiment, found) if found else None
    (first,) = laid_out(experiment, results, table)
    return Lead(
        question(experiment, found),
        answer(found),
        findings.scale(experiment, scores).strip(),
        plot,
        f"{E2MC} minus {_CONTINUED}, percentage points of top-1 accuracy.",
        "Marks: mean difference ± standard error over trials, paired by trial. Lines: 95\u202f% "
        f"intervals of Student's $t$. Filled marks are clear, hollow ones not "
        f"({findings.clear_rule(max(one.trials for one in found))}).",
        first,
        _files(table),
    )


def question(experiment: Experiment, found: Sequence[Finding]) -> str:
    """What the experiment asks, in words."""
    if not found:
        return (
            "What are the embeddings of these models worth? None is trained both with "
            f"{E2MC} and without it."
        )
    bases = dict.fromkeys(findings.base_name(experiment, one.base) for one in found)
    shares = dict.fromkeys(SHORT_PROTOCOLS[one.protocol] for one in found)
    return (
        f"Does training a finished model on with {E2MC} make its embeddings better than training "
        f"it on without? {_listed(bases)}, judged by linear classifiers trained with "
        f"{_listed(shares)} of the labels, {experiment.trials} "
        f"{'trials' if experiment.trials > 1 else 'trial'} each."
    )


def answer(found: Sequence[Finding]) -> str:
    """One sentence: how many comparisons are clear, and between what the differences lie."""
    evaluated = [one for one in found if not isnan(one.difference)]
    if not evaluated:
        return f"Nothing is known yet: no model was evaluated both with {E2MC} and without it."
    above, below = (
        sum(one.verdict == verdict for one in evaluated)
        for verdict in ("clearly above", "clearly below")
    )
    count = f"{len(evaluated)} comparisons"
    if not above and not below:
        verdict = f"There is no clear difference in any of {count}"
    elif not below:
        verdict = f"Yes, {E2MC} is clearly above {_CONTINUED} in {above} of {count}"
    elif not above:
        verdict = f"No, {E2MC} is clearly below {_CONTINUED} in {below} of {count}"
    else:
        verdict = (
            f"It depends: {E2MC} is clearly above {_CONTINUED} in {above} and clearly below it in "
            f"{below} of {count}"
        )
    lowest, *_, highest = sorted([*evaluated, evaluated[0]], key=lambda one: one.difference)
    return f"{verdict}; the differences lie between {_size(lowest)} and {_size(highest)} points."


def _size(finding: Finding) -> str:
    error = finding.standard_error
    spread = "" if isnan(error) else f"\u00a0{PLUS_MINUS}{number(error)}"
    return number(finding.difference, sign=True) + spread


def _listed(names: Sequence[str] | dict[str, None]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _table(experiment: Experiment, results: Path, name: str) -> Section:
    tables = laid_out(experiment, results, name)
    return Section(tables[0].title, tables=tables, files=_files(name), anchor=f"section-{name}")


def _files(name: str) -> list[str]:
    sources = needs.page_sources(name)
    if name in needs.STATISTICS_NAMES:
        return sources
    return [*sources, layout.TABLE_TEX.format(table=name)]


def _figures(experiment: Experiment, results: Path) -> Iterator[Section]:
    for name in needs.figures(experiment):
        text = FIGURES[name]
        file, other = (
            layout.FIGURE.format(figure=name, format=kind)
            for kind in (needs.FRONT_PAGE_FORMAT, "pdf")
        )
        if not (results / file).exists():
            raise E2MCError(f"{results / file} does not exist: draw it before its page")
        picture = Picture((results / file).read_bytes(), text.caption, text.alternative)
        yield Section(text.title, pictures=[picture], files=[file, other], anchor=f"section-{name}")


def _verdicts(experiment: Experiment, results: Path) -> Iterator[Section]:
    counted = overview.verdicts(results)
    name = "reproduction"
    tables = [counted, *laid_out(experiment, results, name)]
    yield Section(
        "Verdicts on the published numbers",
        tables=tables,
        files=_files(name),
        anchor="section-verdicts",
    )


def _records(experiment: Experiment, results: Path) -> Iterator[Section]:
    for table in (
        overview.cost_by_stage(experiment, results),
        overview.provenance(experiment, results),
    ):
        yield Section(table.title, tables=[table], anchor=f"section-{table.name}")
    yield overview.configuration(experiment)._replace(anchor="section-configuration")
    cells = needs.page_inputs(experiment, "overview")
    yield evaluations_section(results, cells)._replace(anchor="section-evaluations")
