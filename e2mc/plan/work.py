"""What the jobs of an experiment go through, in the units that a machine's speed is measured in."""

from collections.abc import Iterable
from pathlib import Path

from e2mc.config.experiment import Experiment
from e2mc.config.fits import FineTune, LinearFit
from e2mc.config.protocols import (
    IMAGENET,
    INAT18,
    SNAPSHOTS,
    cached_shares,
    dataset_of,
    online_shares,
)
from e2mc.config.settings import KIND_VALUES, Crops
from e2mc.config.stages import snapshot_settings
from e2mc.plan.jobs import EXTRACTIONS, TRAININGS, Job, jobs

Images = dict[str, tuple[int, int]]
"""Data set -> its training and its test images."""

Work = dict[str, float]
"""Kind of work -> how much: `pretrain <method>` and `fine-tune` in training images, `forward
<precision>` in images that pass a frozen trunk, `probe` in bytes of cached features. What takes a
CPU minutes, SVMs and nearest neighbours, is none."""

UNITS = {"pretrain": "images", "fine-tune": "images", "forward": "images", "probe": "bytes"}

FLOAT16 = 2
"""Bytes of a value of cached features."""


def work(experiment: Experiment, job: Job, images: Images) -> Work:
    """Of one job.

    Args:
        experiment: what the job belongs to.
        job: of any stage.
        images: of each data set.
    """
    train, test = images[IMAGENET.name]
    evaluation = experiment.evaluation
    precision = f"forward {evaluation.precision}"
    if job.stage in TRAININGS:
        method = experiment.recipe(job.base).method
        return {f"pretrain {method}": epochs(experiment, job) * train}
    if job.stage in EXTRACTIONS:
        return {precision: sum(passes(experiment, *split, images) for split in splits(job))}
    if job.stage == "linear_online":
        shares = {share: evaluation.linear.views[share] for share in online_shares(experiment)}
        # lists of different shares have no image in common
        return {precision: sum(train * one / 100 * views for one, views in shares.items()) + test}
    if job.stage == SNAPSHOTS.stage and experiment.figures.figure4 is not None:
        probe = snapshot_settings(experiment, job.base, trial=0)
        models = 1 + len(experiment.figures.figure4.snapshots)
        seen = train * probe.percent / 100 * probe.fit.epochs + test
        return {"forward float32": models * seen}
    if job.stage == "semisup":
        return _fine_tuning(experiment, job, images)
    read = _read_bytes(experiment, job, images)
    return {"probe": read} if read else {}


def add(works: Iterable[Work]) -> Work:
    """All of them together."""
    found: Work = {}
    for one in works:
        for kind, amount in one.items():
            found[kind] = found.get(kind, 0) + amount
    return found


def total(experiment: Experiment, images: Images) -> tuple[Work, Work]:
    """All trainings of an experiment; all extractions and evaluations."""
    everything = jobs(experiment)
    trained = add(work(experiment, job, images) for job in everything if job.stage in TRAININGS)
    others = (job for job in everything if job.stage not in TRAININGS)
    return trained, add(work(experiment, job, images) for job in others)


def epochs(experiment: Experiment, job: Job) -> int:
    """Of a training; that of a trajectory goes on to the figure's last epoch."""
    own = experiment.training(job.base, scratch=job.stage == "scratch").epochs
    figure = experiment.figures.figure4
    return max(own, figure.epochs) if job.stage == "trajectory" and figure else own


def splits(extraction: Job) -> list[tuple[str, str]]:
    """Data set and split of each folder that an extraction makes."""
    names = (Path(folder).name.rpartition("-") for folder in extraction.outputs)
    return [(dataset, split) for dataset, _, split in names]


def passes(experiment: Experiment, dataset: str, split: str, images: Images) -> int:
    """Forward passes, of one image each, of an extraction of one split."""
    wanted = dataset_of(dataset).seen(experiment)
    crops: Crops = wanted.train if split == "train" else wanted.test
    count = images.get(dataset, (0, 0))[split == "test"]
    return count * (crops.views + (crops.fixed is not None))


def _fine_tuning(experiment: Experiment, job: Job, images: Images) -> Work:
    semisup = experiment.evaluation.semisup
    fits: dict[int, FineTune] = getattr(semisup, experiment.recipe(job.base).fits_of)
    train, test = images[IMAGENET.name]
    chosen = {percent: fits[percent].epochs for percent in semisup.percents}
    return {
        "fine-tune": sum(train * percent / 100 * count for percent, count in chosen.items()),
        "forward float32": sum(test * count for count in chosen.values()),
    }


def _read_bytes(experiment: Experiment, job: Job, images: Images) -> float:
    """What a probe on cached views goes through in all its epochs."""
    vector = experiment.backbone.feature_dimension * FLOAT16
    if job.stage == "linear":
        linear, method = experiment.evaluation.linear, experiment.recipe(job.base).fits_of
        fits: dict[int, LinearFit] = getattr(linear, method)
        train = images[IMAGENET.name][0] * vector
        return sum(train * one / 100 * fits[one].epochs for one in cached_shares(experiment))
    if job.stage == "inat18":
        count = experiment.evaluation.inat18.fit.epochs
        return count * images.get(INAT18.name, (0, 0))[0] * vector * KIND_VALUES["quarters"]
    return 0.0
