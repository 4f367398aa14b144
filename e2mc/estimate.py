"""What an experiment will take: training runs, GPU-hours and bytes, before anything is run."""

from typing import NamedTuple

from e2mc.config.experiment import Experiment
from e2mc.data.checks import IMAGENET, INAT18, VOC07
from e2mc.reporting import needs

_HOURS = {"vicreg": 10.0, "swav": 13.0, "simsiam": 14.0, "er": 10.0, "mi": 10.0}
_GPUS = 2
_EPOCHS = 10
"""Hours of ten epochs on two RTX 8000, as the paper reports them; `er` and `mi` train VICReg's
network."""

_WEIGHTS = {"vicreg": 698_552_504, "swav": 113_648_304, "simsiam": 153_071_816}
"""Bytes of a ResNet-50 with the method's head in float32."""

_FLOAT16 = 2
_POOLED_MAP = 4
"""iNat18 is probed on 2x2 maps: four times the feature dimension."""


class Estimate(NamedTuple):
    """What an experiment will take."""

    training_runs: int
    """Trainings, from scratch or continued."""
    evaluations: int
    """Results that tables, tests and figures are made from."""
    gpu_hours: float | None
    """Of the trainings alone, on the paper's GPUs; None: the paper says nothing of this size."""
    bytes: int | None
    """Features and weights on disk; None: the number of images is unknown."""

    def __str__(self) -> str:
        """One sentence."""
        text = f"{self.training_runs} training runs and {self.evaluations} evaluations"
        if self.gpu_hours is not None:
            text += f", about {self.gpu_hours:,.0f} GPU-hours of training at the paper's speed"
        if self.bytes is not None:
            text += f", {readable(self.bytes)} of features and weights"
        return text


def estimate(experiment: Experiment, images: dict[str, tuple[int, int]] | None = None) -> Estimate:
    """Estimate from the configuration alone; no file is read.

    Args:
        experiment: what is to be run, as `snakemake all` would run it from nothing.
        images: data set -> (training, test) images; None: the originals at full scale, else
            unknown. The paper gives no time for evaluations, so they count as none.
    """
    cells = _cells(experiment)
    models = {(cell.base, cell.criterion, cell.trial) for cell in cells}
    trained = [model for model in models if model[1] != "base"]
    scratch = [base for base, one in experiment.bases.items() if one.checkpoint is None]
    if images is None and experiment.comparable:
        originals = {"imagenet": IMAGENET, "inat18": INAT18, "voc07": VOC07}
        images = {name: (one.train, one.test) for name, one in originals.items()}
    hours = sum(_hours(experiment, base) for base, _, _ in trained)
    return Estimate(
        training_runs=len(trained) + len(scratch),
        evaluations=sum(cell.protocol != "embeddings" for cell in cells),
        gpu_hours=hours * _GPUS if experiment.comparable and not scratch else None,
        bytes=None if images is None else _bytes(experiment, cells, images),
    )


def readable(size: float) -> str:
    """Bytes in the largest decimal unit that leaves a number above one."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _cells(experiment: Experiment) -> set[needs.Cell]:
    cells = {*needs.reproduction_inputs(experiment), *needs.statistics_inputs(experiment)}
    for figure in needs.figures(experiment):
        cells.update(needs.figure_inputs(experiment, figure))
    return cells


def _hours(experiment: Experiment, base: str) -> float:
    epochs = experiment.training(base, scratch=False).epochs
    return _HOURS[experiment.bases[base].method] * epochs / _EPOCHS


def _bytes(
    experiment: Experiment, cells: set[needs.Cell], images: dict[str, tuple[int, int]]
) -> int:
    evaluation = experiment.evaluation
    vector = experiment.backbone.feature_dimension * _FLOAT16
    views = {"imagenet": evaluation.linear.views, "inat18": evaluation.inat18.views, "voc07": 1}
    extracted = {
        (cell.base, cell.criterion, cell.trial, dataset)
        for cell in cells
        if (dataset := _dataset(cell.protocol)) in images
    }
    total = 0
    for *_, dataset in extracted:
        train, test = images[dataset]
        width = vector * _POOLED_MAP if dataset == "inat18" else vector
        total += (train * views[dataset] + test) * width
    if experiment.comparable:
        trained = {one[:3] for one in extracted if one[1] != "base"}
        methods = [experiment.bases[base].method for base, *_ in trained]
        methods += [base.method for base in experiment.bases.values()]
        total += sum(_WEIGHTS.get(method, _WEIGHTS["vicreg"]) for method in methods)
    return total


def _dataset(protocol: str) -> str:
    if protocol in ("inat18", "voc07"):
        return protocol
    return "" if protocol.startswith("semisup") else "imagenet"
