"""What an experiment will take: training runs, GPU-hours and bytes, before anything is run."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from e2mc.config.experiment import Experiment
from e2mc.config.fits import FineTune, LinearFit
from e2mc.config.protocols import (
    DATASETS,
    IMAGENET,
    INAT18,
    SNAPSHOTS,
    cached_shares,
    dataset_of,
    online_shares,
)
from e2mc.config.settings import KIND_VALUES, Crops
from e2mc.config.stages import snapshot_settings
from e2mc.plan.jobs import EVALUATIONS, EXTRACTIONS, FEATURES_AT_ONCE, Job, jobs
from e2mc.plan.quantities import readable

Images = dict[str, tuple[int, int]]
"""Data set -> its training and its test images."""

_GPUS = 2
_EPOCHS = 10
"""What the hours in `Recipe.hours` are for."""

_FLOAT16 = 2

_FORWARD = {"float32": 1261, "float16": 3382, "bfloat16": 3382}
_TRAINING = 367
"""Images per second of a ResNet-50 at 224 pixels on one V100 at batch size 256 (NVIDIA
DeepLearningExamples, ResNet50 v1.5 for PyTorch: inference, and training in float32). Not measured
here; `benchmarks/resnet50.py` says what a GPU of yours does."""
_READING = 1e9
"""Bytes per second that a probe on cached views gets from a disk and the memory before it: a guess;
one epoch of ImageNet takes the probe itself a second on a GPU."""


class Estimate(NamedTuple):
    """What an experiment, or a part of it, will take."""

    training_runs: int
    """Trainings, from scratch or continued."""
    evaluations: int
    """Probes, fine-tunings and SVMs; all results of one job are one."""
    gpu_hours: float | None
    """Of the trainings, on the paper's GPUs; None: the paper says nothing of this size."""
    evaluation_hours: float | None
    """GPU-hours of extractions and evaluations on a V100; None: no such rate is known."""
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

    def __str__(self) -> str:
        """One sentence."""
        text = f"{self.training_runs} training runs and {self.evaluations} evaluations"
        hours = []
        if self.gpu_hours:
            hours.append(f"{self.gpu_hours:,.0f} GPU-hours of training at the paper's speed")
        if self.evaluation_hours:
            hours.append(f"{self.evaluation_hours:,.0f} of evaluation on a V100")
        if hours:
            text += f", about {' and '.join(hours)}"
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
    """Estimate from the configuration alone; no file is read.

    Args:
        experiment: what is to be run.
        images: of each data set; None: the originals at full scale, else unknown.
        only: logs of the jobs that are still to be done (`Job.log`); None: all, from nothing.
    """
    todo = [job for job in jobs(experiment) if only is None or job.log in only]
    trained = [job for job in todo if job.stage in ("pretrain", "trajectory")]
    scratch = [job for job in todo if job.stage == "scratch"]
    if images is None and experiment.comparable:
        originals = {name: dataset.original for name, dataset in DATASETS.items()}
        images = {name: (one.train, one.test) for name, one in originals.items() if one}
    hours = sum(_hours(experiment, job) for job in trained)
    weighty = [job for job in todo if job.stage in ("import_checkpoint", "pretrain", "trajectory")]
    sets = None if images is None else _feature_sets(experiment, todo, images)
    keeps = experiment.evaluation.keep_features
    return Estimate(
        training_runs=len(trained) + len(scratch),
        evaluations=sum(job.stage in EVALUATIONS for job in todo),
        gpu_hours=hours * _GPUS if experiment.comparable and not scratch else None,
        evaluation_hours=sum(_seconds(experiment, job, images) for job in todo) / 3600
        if experiment.comparable and images is not None
        else None,
        feature_bytes=None if sets is None else _at_once(sets, keeps),
        model_feature_bytes=None if sets is None else _of_one_model(sets),
        weight_bytes=sum(experiment.recipe(job.base).weight_bytes for job in weighty)
        if experiment.comparable
        else 0,
        keeps_features=keeps,
    )


def _hours(experiment: Experiment, job: Job) -> float:
    epochs = experiment.training(job.base, scratch=False).epochs
    figure = experiment.figures.figure4
    if job.stage == "trajectory" and figure is not None:
        epochs = max(epochs, figure.epochs)
    return experiment.recipe(job.base).hours * epochs / _EPOCHS


def _feature_sets(experiment: Experiment, todo: list[Job], images: Images) -> dict[Job, int]:
    """Extraction -> bytes of its cached features."""
    vector = experiment.backbone.feature_dimension * _FLOAT16
    found = {}
    for job in todo:
        if job.stage in EXTRACTIONS:
            found[job] = vector * sum(
                _seen(experiment, dataset, split, images) * _values(experiment, dataset)
                for dataset, split in _splits(job)
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


def _splits(extraction: Job) -> list[tuple[str, str]]:
    """Data set and split of each folder that an extraction makes."""
    names = (Path(folder).name.rpartition("-") for folder in extraction.outputs)
    return [(dataset, split) for dataset, _, split in names]


def _seen(experiment: Experiment, dataset: str, split: str, images: Images) -> int:
    """Forward passes, of one image each, of an extraction of one split."""
    wanted = dataset_of(dataset).seen(experiment)
    crops: Crops = wanted.train if split == "train" else wanted.test
    count = images.get(dataset, (0, 0))[split == "test"]
    return count * (crops.views + (crops.fixed is not None))


def _values(experiment: Experiment, dataset: str) -> int:
    """Values of a crop, in units of the feature dimension."""
    return sum(KIND_VALUES[kind] for kind in dataset_of(dataset).seen(experiment).kinds)


def _seconds(experiment: Experiment, job: Job, images: Images | None) -> float:
    """Of one GPU, for an extraction or an evaluation; 0 for what takes a CPU minutes."""
    if images is None or not (job.stage in EXTRACTIONS or job.stage in EVALUATIONS):
        return 0.0
    evaluation, forward = experiment.evaluation, _FORWARD[experiment.evaluation.precision]
    train, test = images[IMAGENET.name]
    if job.stage in EXTRACTIONS:
        passes = (_seen(experiment, *split, images) for split in _splits(job))
        return sum(passes) / forward
    if job.stage == "linear_online":
        shares = {
            percent: evaluation.linear.views[percent] for percent in online_shares(experiment)
        }
        # lists of different shares have no image in common
        return (sum(train * one / 100 * views for one, views in shares.items()) + test) / forward
    if job.stage == SNAPSHOTS.stage and experiment.figures.figure4 is not None:
        probe = snapshot_settings(experiment, job.base, trial=0)
        models = 1 + len(experiment.figures.figure4.snapshots)
        images_seen = train * probe.percent / 100 * probe.fit.epochs + test
        return models * images_seen / _FORWARD["float32"]
    if job.stage == "semisup":
        recipe = experiment.recipe(job.base)
        fits: dict[int, FineTune] = getattr(evaluation.semisup, recipe.fits_of)
        return sum(
            fits[percent].epochs * (train * percent / 100 / _TRAINING + test / _FORWARD["float32"])
            for percent in evaluation.semisup.percents
        )
    return _read_bytes(experiment, job, images) / _READING


def _read_bytes(experiment: Experiment, job: Job, images: Images) -> float:
    """What a probe on cached views goes through in all its epochs."""
    vector = experiment.backbone.feature_dimension * _FLOAT16
    if job.stage == "linear":
        linear, method = experiment.evaluation.linear, experiment.recipe(job.base).fits_of
        fits: dict[int, LinearFit] = getattr(linear, method)
        train = images[IMAGENET.name][0] * vector
        return sum(train * one / 100 * fits[one].epochs for one in cached_shares(experiment))
    if job.stage == "inat18":
        epochs = experiment.evaluation.inat18.fit.epochs
        return epochs * images.get(INAT18.name, (0, 0))[0] * vector * KIND_VALUES["quarters"]
    return 0.0
