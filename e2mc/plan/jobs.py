"""Every job of an experiment, as the workflow's rules have them: what it writes and where.

Nothing heavy is imported: Snakemake reads this while it plans, `e2mc status` at every look.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from e2mc.config.experiment import Experiment
from e2mc.config.protocols import (
    EMBEDDINGS,
    IMAGENET,
    PROTOCOLS,
    dataset_of_result,
    protocol_of,
    transfer_datasets,
)
from e2mc.config.stages import snapshots
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell

TRAININGS = ("scratch", "pretrain", "trajectory")
EXTRACTIONS = ("extract_imagenet", "extract_transfer")
EVALUATIONS = tuple(protocol.stage for protocol in PROTOCOLS)
FEATURES_AT_ONCE = 4
"""Sets of cached features that may lie on disk at a time: what one extraction makes is a set."""
REPORTING = ("significance", "table", "figure", "summary", "index")
STAGES = (
    "prepare",
    "scratch",
    "import_checkpoint",
    "pretrain",
    "trajectory",
    *EXTRACTIONS,
    *EVALUATIONS,
    *REPORTING,
)
"""In the order in which data flows: a stage is a rule, and the logs of its jobs lie in the folder
of this name."""


class Job(NamedTuple):
    """One job; its files are relative to the results folder.

    Attributes:
        stage: one of `STAGES`.
        name: of its log, without suffix.
        outputs: what makes it done.
        records: JSON files that say what it cost, if they are there.
        state: its run directory, if it goes on where it was interrupted.
        base: the base model it works on, if it is one.
    """

    stage: str
    name: str
    outputs: tuple[str, ...]
    records: tuple[str, ...] = ()
    state: str | None = None
    base: str = ""

    @property
    def log(self) -> str:
        """Where it says what it does."""
        return layout.LOG.format(stage=self.stage, job=self.name)


def jobs(experiment: Experiment) -> list[Job]:
    """All jobs of `snakemake all` but downloads, which experiments share."""
    cells = needs.all_inputs(experiment)
    found = [
        *_bases(experiment),
        *(_pretrain(experiment, cell) for cell in cells if cell.criterion != "base"),
        *(_extraction(experiment, cell) for cell in cells if _is_cached(experiment, cell)),
        *(_evaluation(experiment, cell) for cell in cells if cell.protocol != EMBEDDINGS),
        *_reporting(experiment),
    ]
    return sorted(dict.fromkeys(found), key=lambda job: STAGES.index(job.stage))


def _bases(experiment: Experiment) -> Iterator[Job]:
    if experiment.data.prepare:
        yield Job("prepare", "data", (layout.DATA_READY,))
    for name, base in experiment.bases.items():
        if base.checkpoint is None:
            record, state = layout.SCRATCH_METRICS, layout.SCRATCH_STATE.format(base=name)
            outputs = _named((layout.SCRATCH, record), base=name)
            yield Job("scratch", name, outputs, outputs[1:], state, name)
        yield Job("import_checkpoint", name, (layout.CHECKPOINT.format(base=name),), base=name)


def _pretrain(experiment: Experiment, cell: Cell) -> Job:
    """With snapshots it is a rule of its own, but the same run in the same directory."""
    names = cell._asdict()
    outputs = _named((layout.MODEL, layout.PRETRAIN_METRICS), **names)
    job = _on_model("pretrain", cell, outputs, outputs[1:], resumes=True)
    if not snapshots(experiment, cell.base, cell.criterion, cell.trial):
        return job
    kept = _named(needs.snapshot_files(experiment), **names)
    return job._replace(stage="trajectory", outputs=outputs + kept)


def _is_cached(experiment: Experiment, cell: Cell) -> bool:
    return protocol_of(cell.protocol, experiment).cached


def _extraction(experiment: Experiment, cell: Cell) -> Job:
    """All transfer data sets are seen in one pass over the models, ImageNet in another."""
    dataset = dataset_of_result(cell.protocol)
    one = dataset.extraction == IMAGENET.extraction
    datasets = (dataset.name,) if one else transfer_datasets(experiment)
    splits = [(name, split) for name in datasets for split in ("train", "test")]
    outputs, records = (
        tuple(pattern.format(dataset=name, split=split, **cell._asdict()) for name, split in splits)
        for pattern in (layout.CACHED, layout.COST)
    )
    return _on_model(dataset.extraction, cell, outputs, records)


def _evaluation(experiment: Experiment, cell: Cell) -> Job:
    """All results of a protocol, such as its shares of the labels, are one job."""
    protocol = protocol_of(cell.protocol, experiment)
    cells = (cell._replace(protocol=name) for name in needs.results_beside(experiment, cell))
    records = tuple(layout.METRICS.format(**one._asdict()) for one in cells)
    kind = dataset_of_result(cell.protocol).name if protocol.dataset is None else ""
    return _on_model(protocol.stage, cell, records, records, kind=kind, resumes=not protocol.cached)


def _reporting(experiment: Experiment) -> Iterator[Job]:
    tests = (layout.STATISTICS.format(name=name) for name in needs.STATISTICS_NAMES)
    yield Job("significance", "significance", tuple(tests))
    for table in (*needs.tables(experiment), "reproduction"):
        yield Job("table", table, (layout.TABLE_CSV.format(table=table),))
    for figure in needs.figures(experiment):
        formats = needs.FIGURE_FORMATS
        outputs = (layout.FIGURE.format(figure=figure, format=suffix) for suffix in formats)
        yield Job("figure", figure, tuple(outputs))
    yield Job("summary", "summary", (layout.SUMMARY,))
    yield Job("index", "index", (layout.FRONT_PAGE,))


def _on_model(
    stage: str,
    cell: Cell,
    outputs: tuple[str, ...],
    records: tuple[str, ...],
    *,
    kind: str = "",
    resumes: bool = False,
) -> Job:
    name = layout.JOB.format(**cell._asdict()) + (f"-{kind}" if kind else "")
    state = layout.STATE.format(stage=stage, **cell._asdict()) if resumes else None
    return Job(stage, name, outputs, records, state, cell.base)


def _named(patterns: Iterable[str], **names: object) -> tuple[str, ...]:
    return tuple(pattern.format(**names) for pattern in patterns)
