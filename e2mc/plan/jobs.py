"""Every job of an experiment, as the workflow's rules have them: what it writes and where.

Nothing heavy is imported: Snakemake reads this while it plans, `e2mc status` at every look.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from e2mc.config.experiment import Experiment
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell

TRAININGS = ("scratch", "pretrain")
EVALUATIONS = ("linear", "semisup", "inat18", "voc07", "knn")
STAGES = (
    *("data", "scratch", "import", "pretrain", "features", *EVALUATIONS),
    *("statistics", "report"),
)
"""In the order in which data flows; the log of a job lies in the folder of its stage."""


class Job(NamedTuple):
    """One job; its files are relative to the results folder.

    Attributes:
        stage: one of `STAGES`.
        name: of its log, without suffix.
        outputs: what makes it done.
        records: JSON files among them that say what it cost.
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
        *(_pretrain(cell) for cell in cells if cell.criterion != "base"),
        *(_features(experiment, cell) for cell in cells if not cell.protocol.startswith("semisup")),
        *(_evaluation(experiment, cell) for cell in cells if cell.protocol != "embeddings"),
        *_reporting(experiment),
    ]
    return sorted(dict.fromkeys(found), key=lambda job: STAGES.index(job.stage))


def _bases(experiment: Experiment) -> Iterator[Job]:
    if experiment.data.prepare:
        yield Job("data", "prepare", (layout.DATA_READY,))
    for name, base in experiment.bases.items():
        if base.checkpoint is None:
            record, state = layout.SCRATCH_METRICS, layout.SCRATCH_STATE.format(base=name)
            outputs = _named((layout.SCRATCH, record), base=name)
            yield Job("scratch", name, outputs, outputs[1:], state, name)
        yield Job("import", name, (layout.CHECKPOINT.format(base=name),), base=name)


def _pretrain(cell: Cell) -> Job:
    outputs = _named((layout.MODEL, layout.PRETRAIN_METRICS), **cell._asdict())
    return _on_model("pretrain", cell, outputs, outputs[1:], resumes=True)


def _features(experiment: Experiment, cell: Cell) -> Job:
    """Both transfer data sets are seen in one pass over the models, ImageNet in another."""
    transfer = needs.transfer_protocols(experiment)
    kind = "transfer" if cell.protocol in transfer else "imagenet"
    datasets = transfer if kind == "transfer" else ("imagenet",)
    patterns = [index for name in datasets for index in layout.INDICES[name]]
    records = _named(patterns, **cell._asdict())
    return _on_model("features", cell, records, records, kind=kind)


def _evaluation(experiment: Experiment, cell: Cell) -> Job:
    """All shares of the labels are one job."""
    stage = cell.protocol.split("-")[0]
    protocols: Sequence[str] = (cell.protocol,)
    if stage == "linear":
        protocols = needs.linear_protocols(experiment)
    elif stage == "semisup":
        protocols = needs.semisup_protocols(experiment, experiment.bases[cell.base])
    cells = (cell._replace(protocol=protocol) for protocol in protocols)
    records = tuple(layout.METRICS.format(**one._asdict()) for one in cells)
    return _on_model(stage, cell, records, records, resumes=stage == "semisup")


def _reporting(experiment: Experiment) -> Iterator[Job]:
    tests = (layout.STATISTICS.format(name=name) for name in needs.STATISTICS_NAMES)
    yield Job("statistics", "significance", tuple(tests))
    for table in (*needs.tables(experiment), "reproduction"):
        yield Job("report", table, (layout.TABLE_CSV.format(table=table),))
    for figure in needs.figures(experiment):
        formats = needs.FIGURE_FORMATS
        outputs = (layout.FIGURE.format(figure=figure, format=suffix) for suffix in formats)
        yield Job("report", figure, tuple(outputs))
    yield Job("report", "summary", (layout.SUMMARY,))


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
