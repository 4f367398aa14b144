"""What an experiment will take: training runs, GPU-hours and bytes, before anything is run."""

from collections.abc import Collection
from itertools import groupby
from typing import NamedTuple

from e2mc.config.experiment import Experiment
from e2mc.config.protocols import DATASETS, dataset_of
from e2mc.config.settings import KIND_VALUES
from e2mc.files import read_json
from e2mc.plan import layout
from e2mc.plan.jobs import EVALUATIONS, EXTRACTIONS, FEATURES_AT_ONCE, TRAININGS, Job, jobs
from e2mc.plan.quantities import duration, readable
from e2mc.plan.speeds import PAPER, planned
from e2mc.plan.work import FLOAT16, Images, add, passes, splits, work

_GROUPS = (TRAININGS, (*EXTRACTIONS, *EVALUATIONS))


class Estimate(NamedTuple):
    """What an experiment, or a part of it, will take."""

    training_runs: int
    """Trainings, from scratch or continued."""
    evaluations: int
    """Probes, fine-tunings and SVMs; all results of one job are one."""
    gpu_hours: float | None
    """Of the trainings; None: unknown."""
    evaluation_hours: float | None
    """Of extractions and evaluations; None: unknown."""
    stage_hours: dict[str, float]
    """Stage -> its share of both."""
    machine: str | None
    """The GPU, or core, that these hours are for, see `e2mc.plan.speeds.Speeds`."""
    feature_bytes: int | None
    """Most cached features on disk at any time; None: the number of images is unknown."""
    model_feature_bytes: int | None
    """Most cached features of one model."""
    weight_bytes: int
    """Weights on disk; 0 for small networks."""
    keeps_features: bool
    """Whether cached features stay."""

    @property
    def bytes(self) -> int | None:
        """The most that is on disk at any time; None: the number of images is unknown."""
        return None if self.feature_bytes is None else self.feature_bytes + self.weight_bytes

    @property
    def hours(self) -> str:
        """Half a sentence; empty: nothing is known."""
        training, evaluation = self.gpu_hours or 0, self.evaluation_hours or 0
        if self.machine == PAPER:
            texts = (
                f"{training:,.0f} GPU-hours of training at the paper's speed" if training else "",
                f"{evaluation:,.0f} of evaluation on a V100" if evaluation else "",
            )
            return " and ".join(filter(None, texts))
        texts = (
            f"{duration(3600 * training)} of training" if training else "",
            f"{duration(3600 * evaluation)} of evaluation" if evaluation else "",
        )
        text = " and ".join(filter(None, texts))
        return f"{text} on one {self.machine}" if text else ""

    def __str__(self) -> str:
        """One sentence."""
        text = f"{self.training_runs} training runs and {self.evaluations} evaluations"
        if self.hours:
            text += f", about {self.hours}"
        if self.bytes:
            text += f", at most {readable(self.bytes)} on disk"
        if self.feature_bytes:
            how = "kept" if self.keeps_features else "deleted when its evaluations are done"
            text += (
                f" ({readable(self.weight_bytes)} of weights, the rest is cached features, up to "
                f"{readable(self.model_feature_bytes or 0)} of a model, {how})"
            )
        return text


def estimate(
    experiment: Experiment, images: Images | None = None, only: Collection[str] | None = None
) -> Estimate:
    """Estimate from the configuration, and from speeds that have been measured here.

    Args:
        experiment: what is to be run.
        images: of each data set; None: the originals at full scale, else those that were counted
            when this machine was measured, else unknown.
        only: logs of the jobs that are still to be done (`Job.log`); None: all, from nothing.

    Raises:
        E2MCError: the file of measured speeds is damaged.
    """
    todo = [job for job in jobs(experiment) if only is None or job.log in only]
    trained = [job for job in todo if job.stage in TRAININGS]
    weighty = [job for job in todo if job.stage in ("import_checkpoint", "pretrain", "trajectory")]
    images = images or _images(experiment)
    sets = None if images is None else _feature_sets(experiment, todo, images)
    keeps = experiment.evaluation.keep_features
    stages, machine = _stage_hours(experiment, todo, images)
    hours = [sum(stages[stage] for stage in group if stage in stages) for group in _GROUPS]
    # the paper says nothing of training from scratch
    silent = machine is None or (machine == PAPER and "scratch" in stages)
    return Estimate(
        training_runs=len(trained),
        evaluations=sum(job.stage in EVALUATIONS for job in todo),
        gpu_hours=None if silent else hours[0],
        evaluation_hours=None if machine is None else hours[1],
        stage_hours=stages,
        machine=machine,
        feature_bytes=None if sets is None else _at_once(sets, keeps),
        model_feature_bytes=None if sets is None else _of_one_model(sets),
        weight_bytes=sum(experiment.recipe(job.base).weight_bytes for job in weighty)
        if experiment.comparable
        else 0,
        keeps_features=keeps,
    )


def _images(experiment: Experiment) -> Images | None:
    """As published, or as counted here."""
    if experiment.comparable:
        originals = {name: dataset.original for name, dataset in DATASETS.items()}
        return {name: (one.train, one.test) for name, one in originals.items() if one}
    counted = layout.results(experiment.name) / layout.COUNTED
    if not counted.exists():
        return None
    return {name: (train, test) for name, (train, test) in read_json(counted).items()}


def _stage_hours(
    experiment: Experiment, todo: list[Job], images: Images | None
) -> tuple[dict[str, float], str | None]:
    """Stage -> hours, and of which machine; none if that is unknown."""
    stages = (
        {
            stage: add(work(experiment, job, images) for job in of_stage)
            for stage, of_stage in groupby(todo, key=lambda job: job.stage)
        }
        if images is not None
        else {}
    )
    everything = add(stages.values())
    speeds = planned(experiment, everything) if everything else None
    if speeds is None:
        return {}, None
    hours = {stage: (speeds.seconds(one) or 0) / 3600 for stage, one in stages.items() if one}
    return hours, speeds.machine


def _feature_sets(experiment: Experiment, todo: list[Job], images: Images) -> dict[Job, int]:
    """Extraction -> bytes of its cached features."""
    vector = experiment.backbone.feature_dimension * FLOAT16
    found = {}
    for job in todo:
        if job.stage in EXTRACTIONS:
            found[job] = vector * sum(
                passes(experiment, dataset, split, images) * _values(experiment, dataset)
                for dataset, split in splits(job)
            )
    return found


def _at_once(sets: dict[Job, int], keeps: bool) -> int:
    """Snakemake begins no further extraction while so many sets of features are needed."""
    largest = sorted(sets.values(), reverse=True)
    return sum(largest if keeps else largest[:FEATURES_AT_ONCE])


def _of_one_model(sets: dict[Job, int]) -> int:
    models: dict[str, int] = {}
    for job, size in sets.items():
        models[job.name] = models.get(job.name, 0) + size
    return max(models.values(), default=0)


def _values(experiment: Experiment, dataset: str) -> int:
    """Values of a crop, in units of the feature dimension."""
    return sum(KIND_VALUES[kind] for kind in dataset_of(dataset).seen(experiment).kinds)
