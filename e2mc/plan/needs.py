"""Which evaluations each table, figure and test is made from.

The workflow asks here for the inputs of its rules and the writers ask here for the cells they
read, so the two cannot disagree. Nothing heavy is imported: Snakemake evaluates this module
while it plans.
"""

from collections.abc import Iterable
from typing import NamedTuple

from e2mc.config.experiment import Base, Experiment
from e2mc.config.methods import RECIPES
from e2mc.config.protocols import (
    EMBEDDINGS,
    FEW_SHOT,
    LINEAR,
    PROTOCOLS,
    SEMISUP,
    SNAPSHOTS,
    dataset_of_result,
    protocol_of,
    transfer_datasets,
)
from e2mc.config.stages import grid_criteria
from e2mc.errors import E2MCError
from e2mc.plan import layout

PAPER_TABLES = ("table1", "table2", "table3", "table_d1", "table_d2")
TABLE_NAMES = (*PAPER_TABLES, "table_transfer")
FIGURE_NAMES = ("figure2", "figure3", "figure4", "figure_d1", "figure_probe_epochs")
STATISTICS_NAMES = ("significance", "trials")
FIGURE_FORMATS = ("pdf", "png")
FRONT_PAGE_FORMAT = "png"

PRINCIPAL = ("base", "continued", "e2mc")
"""The three arms of Table 1: the checkpoint, trained on without, and trained on with E2MC."""


class Cell(NamedTuple):
    """One evaluation; the fields are those of the file names."""

    base: str
    criterion: str
    trial: int
    protocol: str


def tables(experiment: Experiment) -> tuple[str, ...]:
    """The tables that this experiment has."""
    return tuple(name for name in TABLE_NAMES if table_inputs(experiment, name))


def figures(experiment: Experiment) -> tuple[str, ...]:
    """The figures that this experiment has."""
    return tuple(name for name in FIGURE_NAMES if figure_inputs(experiment, name))


def table_inputs(experiment: Experiment, table: str) -> list[Cell]:
    """Evaluations behind one table or `reproduction`, empty if the experiment has no such table.

    Raises:
        E2MCError: there is no table of that name.
    """
    shown = experiment.tables
    if table == "table1":
        return [cell for base in experiment.bases for cell in _table1(experiment, base)]
    if table == "table2":
        return [cell for base in experiment.bases for cell in _table2(experiment, base)]
    if table == "table3":
        return _linear(experiment, shown.table3, _criteria_of(experiment, shown.table3))
    if table == "table_d1":
        return [
            cell
            for cell in _table1(experiment, shown.table_d1)
            if cell.criterion in ("base", "e2mc")
        ]
    if table == "table_d2":
        return _table_d2(experiment)
    if table == "table_transfer":
        bases = shown.table_transfer or tuple(experiment.bases)
        return [cell for base in bases for cell in _few_shot(experiment, base)]
    if table == "reproduction":
        return reproduction_inputs(experiment)
    raise E2MCError(f"no table '{table}'; tables: {', '.join(TABLE_NAMES)}")


def figure_inputs(experiment: Experiment, figure: str) -> list[Cell]:
    """What one figure is drawn from; the protocol of Figures 2 and D.1 is `EMBEDDINGS`.

    Raises:
        E2MCError: there is no figure of that name.
    """
    trained = [name for name, base in experiment.bases.items() if "e2mc" in base.criteria]
    if figure in ("figure2", "figure_d1"):
        return _pair(trained[:1], EMBEDDINGS)
    if figure == "figure3":
        return _pair(trained, "knn")
    if figure == "figure4":
        return _trajectories(experiment)
    if figure == "figure_probe_epochs":
        return [
            cell
            for base in trained
            for cell in _linear(experiment, base, _principal(experiment, base))
        ]
    raise E2MCError(f"no figure '{figure}'; figures: {', '.join(FIGURE_NAMES)}")


def statistics_inputs(experiment: Experiment) -> list[Cell]:
    """Evaluations that are tested: Tables 1 to 3, and every criterion on every base, linear."""
    cells = [cell for table in ("table1", "table2") for cell in table_inputs(experiment, table)]
    for base in experiment.bases:
        cells += _linear(experiment, base, _criteria_of(experiment, base))
    return list(dict.fromkeys(cells))


def reproduction_inputs(experiment: Experiment) -> list[Cell]:
    """Evaluations that are set against published numbers: those of the paper's five tables."""
    cells = [cell for table in PAPER_TABLES for cell in table_inputs(experiment, table)]
    return list(dict.fromkeys(cells))


def all_inputs(experiment: Experiment) -> list[Cell]:
    """Everything that tables, tests and figures are made from."""
    cells = [cell for table in TABLE_NAMES for cell in table_inputs(experiment, table)]
    cells += statistics_inputs(experiment)
    for figure in figures(experiment):
        cells += figure_inputs(experiment, figure)
    return list(dict.fromkeys(cells))


def pages(experiment: Experiment) -> tuple[str, ...]:
    """The pages of the HTML report."""
    return (*tables(experiment), "reproduction", *STATISTICS_NAMES, "overview")


def page_inputs(experiment: Experiment, page: str) -> list[Cell]:
    """Evaluations that a page of the HTML report names.

    Raises:
        E2MCError: this experiment has no page of that name.
    """
    if page not in pages(experiment):
        raise E2MCError(f"no page '{page}'; pages: {', '.join(pages(experiment))}")
    if page in STATISTICS_NAMES:
        return statistics_inputs(experiment)
    if page == "overview":
        cells = reproduction_inputs(experiment) + statistics_inputs(experiment)
        cells += figure_inputs(experiment, "figure3") + table_inputs(experiment, "table_transfer")
        return list(dict.fromkeys(cells))
    return table_inputs(experiment, page)


def trainings(experiment: Experiment) -> list[str]:
    """What the training of every model behind the overview records about itself."""
    scratch = [name for name, base in experiment.bases.items() if base.checkpoint is None]
    cells = page_inputs(experiment, "overview")
    continued = [cell._asdict() for cell in cells if cell.criterion != "base"]
    return [layout.SCRATCH_METRICS.format(base=name) for name in scratch] + list(
        dict.fromkeys(layout.PRETRAIN_METRICS.format(**cell) for cell in continued)
    )


def table_files(experiment: Experiment, table: str) -> list[str]:
    """Files that ``tables.write_table`` reads, relative to the results folder."""
    patterns = [layout.METRICS]
    if table == "table_d1":
        patterns.append(layout.PREDICTIONS)
    return _files(table_inputs(experiment, table), patterns)


def figure_files(experiment: Experiment, figure: str) -> list[str]:
    """Files that ``figures.write_figure`` reads, relative to the results folder."""
    pattern = _FIGURE_FILES[figure]
    return _files(figure_inputs(experiment, figure), [pattern])


_FIGURE_FILES = {
    "figure2": layout.EMBEDDINGS,
    "figure3": layout.DISTANCES,
    "figure4": layout.CURVE,
    "figure_d1": layout.EMBEDDINGS,
    "figure_probe_epochs": layout.CURVE,
}


def page_files(experiment: Experiment, page: str) -> list[str]:
    """Files that ``pages.write_page`` reads, relative to the results folder."""
    evaluations = _files(page_inputs(experiment, page), [layout.METRICS])
    trained = trainings(experiment) if page == "overview" else []
    return [*page_sources(page), *evaluations, *trained]


def front_page_files(experiment: Experiment) -> list[str]:
    """Files that ``front_page.write_front_page`` reads, relative to the results folder."""
    drawn = [
        layout.FIGURE.format(figure=name, format=FRONT_PAGE_FORMAT) for name in figures(experiment)
    ]
    shown = [file for page in pages(experiment) for file in page_files(experiment, page)]
    return list(dict.fromkeys([*drawn, *shown]))


def page_sources(page: str) -> list[str]:
    """What a page shows in another form, relative to the results folder."""
    if page == "overview":
        return [layout.SUMMARY, layout.TABLE_CSV.format(table="reproduction")]
    if page in STATISTICS_NAMES:
        return [layout.STATISTICS.format(name=page)]
    return [layout.TABLE_CSV.format(table=page)]


def statistics_files(experiment: Experiment) -> list[str]:
    """Files that ``significance.write_statistics`` reads, relative to the results folder."""
    return _files(statistics_inputs(experiment), [layout.METRICS, layout.PREDICTIONS])


def linear_protocols(experiment: Experiment) -> tuple[str, ...]:
    """The configured shares of the labels, as protocol names."""
    return tuple(f"{LINEAR.stage}-{percent}" for percent in experiment.evaluation.linear.percents)


def semisup_protocols(experiment: Experiment, base: Base) -> tuple[str, ...]:
    """The same for fine-tuning, none for methods without such a protocol."""
    if not RECIPES[base.method].semisup:
        return ()
    return SEMISUP.folders(experiment)


def transfer_protocols(experiment: Experiment) -> tuple[str, ...]:
    """The columns of Table 2: those of its protocols whose data set is configured."""
    data = transfer_datasets(experiment)
    return tuple(one.stage for one in PROTOCOLS if one.published and one.dataset in data)


def results_beside(experiment: Experiment, cell: Cell) -> tuple[str, ...]:
    """Every result of the job that makes this one, itself included."""
    dataset = dataset_of_result(cell.protocol).name
    return protocol_of(cell.protocol, experiment).folders(experiment, dataset)


def _files(cells: Iterable[Cell], patterns: Iterable[str]) -> list[str]:
    return [pattern.format(**cell._asdict()) for pattern in patterns for cell in cells]


def _criteria_of(experiment: Experiment, base: str | None) -> tuple[str, ...]:
    return () if base is None else ("base", *experiment.bases[base].criteria)


def _principal(experiment: Experiment, base: str) -> tuple[str, ...]:
    configured = _criteria_of(experiment, base)
    return tuple(name for name in PRINCIPAL if name in configured)


def _linear(experiment: Experiment, base: str | None, criteria: tuple[str, ...]) -> list[Cell]:
    return [
        Cell(base, criterion, trial, protocol)
        for criterion in criteria
        for trial in range(experiment.trials)
        for protocol in linear_protocols(experiment)
        if base is not None
    ]


def _table1(experiment: Experiment, base: str | None) -> list[Cell]:
    """Fine-tuning of `continued` is not published and the dearest evaluation: it is left out."""
    if base is None:
        return []
    principal = _principal(experiment, base)
    return _linear(experiment, base, principal) + [
        Cell(base, criterion, trial, protocol)
        for criterion in principal
        if criterion != "continued"
        for trial in range(experiment.trials)
        for protocol in semisup_protocols(experiment, experiment.bases[base])
    ]


def _table2(experiment: Experiment, base: str) -> list[Cell]:
    """The SVMs see one centre crop of one checkpoint: trials of `base` would repeat one number."""
    return [
        Cell(base, criterion, trial, protocol)
        for criterion in _principal(experiment, base)
        if criterion != "continued"
        for protocol in transfer_protocols(experiment)
        for trial in range(experiment.trials)
        if trial == 0 or criterion != "base" or not protocol_of(protocol).deterministic
    ]


def _few_shot(experiment: Experiment, base: str) -> list[Cell]:
    """Every trial draws other images, so those of `base` differ too."""
    return [
        Cell(base, criterion, trial, protocol)
        for criterion in _principal(experiment, base)
        if criterion != "continued"
        for dataset in experiment.data.transfer
        for protocol in FEW_SHOT.folders(experiment, dataset)
        for trial in range(experiment.trials)
    ]


def _table_d2(experiment: Experiment) -> list[Cell]:
    ablation = experiment.tables.table_d2
    if ablation is None:
        return []
    return [
        Cell(ablation.base, criterion, trial, protocol)
        for criterion in grid_criteria(experiment)
        for trial in range(_trials_of_grid(experiment, criterion))
        for protocol in linear_protocols(experiment)
        if protocol in ("linear-1", "linear-10")
    ]


def _trials_of_grid(experiment: Experiment, criterion: str) -> int:
    """Rows of Table D.2 that are those of Tables 1 and 3 are of all trials, as there (and as in
    the paper: 53.69 and 55.27 stand in both).
    """
    ablation = experiment.tables.table_d2
    assert ablation is not None
    shared = criterion in experiment.bases[ablation.base].criteria
    return experiment.trials if shared else ablation.trials


def _trajectories(experiment: Experiment) -> list[Cell]:
    """Both arms of every base."""
    figure = experiment.figures.figure4
    if figure is None:
        return []
    return [
        Cell(base, criterion, trial, SNAPSHOTS.stage)
        for base in figure.bases
        for criterion in _principal(experiment, base)
        if criterion != "base"
        for trial in range(figure.trials)
    ]


def snapshot_files(experiment: Experiment) -> list[str]:
    """What a training of Figure 4 writes beside its model, the epochs filled in."""
    figure = experiment.figures.figure4
    epochs = figure.snapshots if figure else ()
    return [layout.SNAPSHOT.replace("{epoch}", str(epoch)) for epoch in epochs]


def _pair(bases: list[str], protocol: str) -> list[Cell]:
    return [Cell(base, criterion, 0, protocol) for base in bases for criterion in ("base", "e2mc")]
