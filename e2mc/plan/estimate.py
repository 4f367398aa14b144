"""What an experiment will take: training runs, GPU-hours and bytes, before anything is run."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from e2mc.config.experiment import Experiment
from e2mc.config.protocols import DATASETS, dataset_of
from e2mc.config.settings import KIND_VALUES
from e2mc.plan.jobs import EVALUATIONS, EXTRACTIONS, Job, jobs

_GPUS = 2
_EPOCHS = 10
"""What the hours in `Recipe.hours` are for."""

_FLOAT16 = 2


class Estimate(NamedTuple):
    """What an experiment, or a part of it, will take."""

    training_runs: int
    """Trainings, from scratch or continued."""
    evaluations: int
    """Probes, fine-tunings and SVMs; all shares of the labels are one."""
    gpu_hours: float | None
    """Of the trainings alone, on the paper's GPUs; None: the paper says nothing of this size."""
    feature_bytes: int | None
    """Cached features on disk; None: the number of images is unknown."""
    weight_bytes: int
    """Weights on disk; 0 for small networks."""

    @property
    def bytes(self) -> int | None:
        """All that stays on disk; None: the number of images is unknown."""
        return None if self.feature_bytes is None else self.feature_bytes + self.weight_bytes

    def __str__(self) -> str:
        """One sentence."""
        text = f"{self.training_runs} training runs and {self.evaluations} evaluations"
        if self.gpu_hours:
            text += (
                f", about {self.gpu_hours:,.0f} GPU-hours of training at the paper's speed "
                "(evaluation comes on top)"
            )
        if self.bytes:
            text += f", {readable(self.bytes)} on disk"
        if self.feature_bytes:
            text += f" ({readable(self.weight_bytes)} of weights, the rest is cached features)"
        return text


def estimate(
    experiment: Experiment,
    images: dict[str, tuple[int, int]] | None = None,
    only: Collection[str] | None = None,
) -> Estimate:
    """Estimate from the configuration alone; no file is read.

    Args:
        experiment: what is to be run.
        images: data set -> (training, test) images; None: the originals at full scale, else
            unknown. The paper gives no time for evaluations, so they count as none.
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
    return Estimate(
        training_runs=len(trained) + len(scratch),
        evaluations=sum(job.stage in EVALUATIONS for job in todo),
        gpu_hours=hours * _GPUS if experiment.comparable and not scratch else None,
        feature_bytes=None if images is None else _feature_bytes(experiment, todo, images),
        weight_bytes=sum(experiment.recipe(job.base).weight_bytes for job in weighty)
        if experiment.comparable
        else 0,
    )


def readable(size: float) -> str:
    """Bytes in the largest decimal unit that leaves a number above one."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _hours(experiment: Experiment, job: Job) -> float:
    epochs = experiment.training(job.base, scratch=False).epochs
    figure = experiment.figures.figure4
    if job.stage == "trajectory" and figure is not None:
        epochs = max(epochs, figure.epochs)
    return experiment.recipe(job.base).hours * epochs / _EPOCHS


def _feature_bytes(
    experiment: Experiment, todo: list[Job], images: dict[str, tuple[int, int]]
) -> int:
    vector = experiment.backbone.feature_dimension * _FLOAT16
    total = 0
    for job in todo:
        for index in job.outputs if job.stage in EXTRACTIONS else ():
            dataset, split = Path(index).parent.name.split("-")
            seen = dataset_of(dataset).seen(experiment.evaluation)
            crops = seen.train if split == "train" else seen.test
            count = images.get(dataset, (0, 0))[split == "test"]
            values = vector * sum(KIND_VALUES[kind] for kind in seen.kinds)
            total += count * (crops.views + (crops.fixed is not None)) * values
    return total
