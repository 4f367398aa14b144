"""The slice of an experiment that each stage depends on, and nothing more.

A Snakemake rule has the slice as its parameter and the command line hands the same slice to the
stage, so a changed key reruns exactly the stages that can see it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from e2mc.config.criteria import Criterion
from e2mc.config.experiment import UNTRAINED, Data, Experiment
from e2mc.config.methods import Training
from e2mc.config.protocols import (
    DATASETS,
    IMAGENET,
    LINEAR,
    LINEAR_ONLINE,
    SEMISUP,
    SNAPSHOTS,
    cached_shares,
    dataset_of,
    online_shares,
)
from e2mc.config.settings import (
    DataSetSettings,
    ExtractSettings,
    FineTuneSettings,
    ImageNetSettings,
    ImportSettings,
    KNNSettings,
    LinearOnlineSettings,
    LinearSettings,
    ProtocolSettings,
    ReportingSettings,
    SnapshotSettings,
    TrainSettings,
)
from e2mc.config.strict import Strict
from e2mc.errors import E2MCError


def _imagenet(experiment: Experiment) -> ImageNetSettings:
    data = experiment.data
    held_out = data.validation_fraction if data.evaluate_on == "validation" else None
    return ImageNetSettings(
        root=data.imagenet.root, lists=data.imagenet.lists, validation_fraction=held_out
    )


def data_settings(experiment: Experiment, dataset: str) -> ImageNetSettings | Path:
    """What the loader of an evaluation data set is given.

    Raises:
        E2MCError: the experiment has no such data set.
    """
    if dataset == IMAGENET.name:
        return _imagenet(experiment)
    root = experiment.data.root(dataset)
    if root is None:
        raise E2MCError(
            f"data.{dataset} is null, and data.transfer has no '{dataset}': give the folder of "
            "the data"
        )
    return root


def criterion_of(experiment: Experiment, base: str, criterion: str) -> Criterion | None:
    """The criterion by name; grid cells of Table D.2 are named ``grid-<beta>-<gamma>``.

    Raises:
        E2MCError: there is no such base, or it has no such criterion.
    """
    method = experiment.recipe(base).method
    if criterion in UNTRAINED:
        return None
    ablation = experiment.tables.table_d2
    if criterion.startswith("grid-") and ablation is not None:
        beta, gamma = (float(part) for part in criterion.split("-")[1:])
        reference = experiment.criteria[ablation.criterion][method]
        return reference.model_copy(
            update={
                "entropy_weight": beta * ablation.unit[0],
                "covariance_weight": gamma * ablation.unit[1],
            }
        )
    if method not in experiment.criteria.get(criterion, {}):
        known = [name for name, methods in experiment.criteria.items() if method in methods]
        raise E2MCError(
            f"no criterion '{criterion}' for {method}; criteria: {', '.join(['continued', *known])}"
        )
    return experiment.criteria[criterion][method]


def grid_criteria(experiment: Experiment) -> list[str]:
    """Criterion names of Table D.2's rows, in order.

    The cell without either term is `continued`, and a cell that equals the reported weights is
    that criterion itself, so no model is trained twice.
    """
    ablation = experiment.tables.table_d2
    if ablation is None:
        return []
    reported = criterion_of(experiment, ablation.base, ablation.criterion)
    names = []
    for beta, gamma in ablation.grid:
        name = f"grid-{beta:g}-{gamma:g}"
        if beta == gamma == 0:
            name = "continued"
        elif criterion_of(experiment, ablation.base, name) == reported:
            name = ablation.criterion
        names.append(name)
    return names


def import_checkpoint_settings(experiment: Experiment, base: str) -> ImportSettings:
    """The import of a base model's checkpoint."""
    return ImportSettings(recipe=experiment.recipe(base), backbone=experiment.backbone)


def prepare_settings(experiment: Experiment) -> Data:
    """The data sets that are written here; what says how they are read keeps its default."""
    sources = ("cifar10_source", "cifar10_per_class", "imagenet32_source", "imagenet32_per_class")
    kept = ("prepare", *sources, *DATASETS, "transfer")
    return Data(**{name: getattr(experiment.data, name) for name in kept})


def scratch_settings(experiment: Experiment, base: str) -> TrainSettings:
    """A base model from random weights."""
    return _training(experiment, base, experiment.training(base, scratch=True), None, trial=0)


def pretrain_settings(
    experiment: Experiment, base: str, criterion: str, trial: int
) -> TrainSettings:
    """Continued pre-training of a base with a criterion."""
    added = criterion_of(experiment, base, criterion)
    training = experiment.training(base, scratch=False)
    kept = snapshots(experiment, base, criterion, trial)
    made = _training(experiment, base, training, added, trial)
    return made.model_copy(update={"snapshots": kept})


def snapshots(experiment: Experiment, base: str, criterion: str, trial: int) -> tuple[int, ...]:
    """Epochs of a continuation that Figure 4 shows; none of a model that it does not show."""
    figure = experiment.figures.figure4
    if figure is None or base not in figure.bases or trial >= figure.trials:
        return ()
    shown = criterion in ("continued", "e2mc") and criterion in experiment.bases[base].criteria
    return figure.snapshots if shown else ()


def _training(
    experiment: Experiment, base: str, training: Training, criterion: Criterion | None, trial: int
) -> TrainSettings:
    return TrainSettings(
        recipe=experiment.recipe(base),
        training=training,
        criterion=criterion,
        backbone=experiment.backbone,
        images=experiment.images,
        data=_imagenet(experiment),
        corrupt_images=experiment.data.corrupt_images,
        tensorboard=experiment.tensorboard,
        workers=experiment.data.workers,
        seed=seed_of(experiment, trial),
        **_on_gpu(experiment),
    )


def _on_gpu(experiment: Experiment) -> dict[str, Any]:
    """The fields of `OnGPU`."""
    return {"tf32": experiment.tf32, "deterministic": experiment.deterministic}


def seed_of(experiment: Experiment, trial: int) -> int:
    """Trials of one experiment never share a seed with those of its neighbour."""
    return experiment.seed * 1000 + trial


def extract_settings(
    experiment: Experiment, base: str, trial: int, datasets: tuple[str, ...]
) -> ExtractSettings:
    """Features of one model."""
    return ExtractSettings(
        recipe=experiment.recipe(base),
        datasets={
            name: DataSetSettings(
                data=data_settings(experiment, name), **dataset_of(name).seen(experiment)._asdict()
            )
            for name in datasets
        },
        embedding_samples=experiment.evaluation.embedding_samples,
        **_frozen(experiment, base, trial),
    )


def _frozen(experiment: Experiment, base: str, trial: int) -> dict[str, Any]:
    """The fields of `FrozenSettings`."""
    evaluation = experiment.evaluation
    return {
        "backbone": experiment.backbone,
        "images": experiment.images,
        "normalization_std": evaluation.normalization_std,
        "pipeline": _evaluation_pipeline(experiment, base),
        "precision": evaluation.precision,
        "flip_probability": experiment.recipe(base).views.flip_probability,
        "batch_size": evaluation.batch_size,
        "workers": experiment.data.workers,
        "seed": seed_of(experiment, trial),
        **_on_gpu(experiment),
    }


def _evaluation_pipeline(experiment: Experiment, base: str) -> Literal["pillow", "fast", "tensor"]:
    in_memory = experiment.recipe(base).views.pipeline == "tensor"
    return "tensor" if in_memory else experiment.evaluation.pipeline


def linear_settings(experiment: Experiment, base: str, trial: int) -> LinearSettings:
    """Linear probes of one model on cached views."""
    linear, shares = experiment.evaluation.linear, cached_shares(experiment)
    return LinearSettings(
        fits=_linear_fits(experiment, base, shares),
        views={percent: linear.views[percent] for percent in shares},
        lists=experiment.data.imagenet.lists,
        precision=linear.precision,
        seed=seed_of(experiment, trial),
    )


def linear_online_settings(experiment: Experiment, base: str, trial: int) -> LinearOnlineSettings:
    """Linear probes of one model on fresh views."""
    return LinearOnlineSettings(
        fits=_linear_fits(experiment, base, online_shares(experiment)),
        data=_imagenet(experiment),
        products=experiment.evaluation.linear.precision,
        **_frozen(experiment, base, trial),
    )


def _linear_fits(experiment: Experiment, base: str, shares: tuple[int, ...]) -> dict[int, Any]:
    fits = getattr(experiment.evaluation.linear, experiment.recipe(base).fits_of)
    return {percent: fits[percent] for percent in shares}


def protocol_settings(experiment: Experiment, stage: str, base: str, trial: int) -> Strict:
    """A protocol by the name of its stage, but for nearest neighbours, which see no trial."""
    if stage == LINEAR.stage:
        return linear_settings(experiment, base, trial)
    if stage == LINEAR_ONLINE.stage:
        return linear_online_settings(experiment, base, trial)
    if stage == SEMISUP.stage:
        return semisup_settings(experiment, base, trial)
    if stage == SNAPSHOTS.stage:
        return snapshot_settings(experiment, base, trial)
    options = getattr(experiment.evaluation, stage)
    return ProtocolSettings(protocol=options, seed=seed_of(experiment, trial))


def semisup_settings(experiment: Experiment, base: str, trial: int) -> FineTuneSettings:
    """Semi-supervised fine-tuning of one model."""
    evaluation = experiment.evaluation
    recipe = experiment.recipe(base)
    fits = getattr(evaluation.semisup, recipe.fits_of)
    return FineTuneSettings(
        backbone=experiment.backbone,
        images=experiment.images,
        fits={percent: fits[percent] for percent in evaluation.semisup.percents},
        batch_norm=evaluation.semisup.batch_norm,
        optimizer=evaluation.semisup.optimizer,
        data=_imagenet(experiment),
        views=recipe.views,
        pipeline=_evaluation_pipeline(experiment, base),
        normalization_std=evaluation.normalization_std,
        batch_size=evaluation.batch_size,
        workers=experiment.data.workers,
        seed=seed_of(experiment, trial),
        **_on_gpu(experiment),
    )


def snapshot_settings(experiment: Experiment, base: str, trial: int) -> SnapshotSettings:
    """Linear probes of the snapshots of one model."""
    evaluation = experiment.evaluation
    recipe = experiment.recipe(base)
    percent = evaluation.snapshots.percent
    return SnapshotSettings(
        backbone=experiment.backbone,
        images=experiment.images,
        percent=percent,
        fit=getattr(evaluation.linear, recipe.fits_of)[percent],
        data=_imagenet(experiment),
        normalization_std=evaluation.normalization_std,
        pipeline=recipe.views.pipeline,
        flip_probability=recipe.views.flip_probability,
        batch_size=evaluation.batch_size,
        precision=evaluation.linear.precision,
        workers=experiment.data.workers,
        seed=seed_of(experiment, trial),
        **_on_gpu(experiment),
    )


def knn_settings(experiment: Experiment, base: str) -> KNNSettings:
    """Nearest neighbours of one model."""
    return KNNSettings(
        protocol=experiment.evaluation.knn, space=space_of(experiment, base) or "hypersphere"
    )


def space_of(experiment: Experiment, base: str) -> Any:
    """The compact space of a base's E2MC criterion, None without such a criterion."""
    added = experiment.criteria.get("e2mc", {}).get(experiment.recipe(base).method)
    return getattr(added, "space", None)


def reporting_settings(experiment: Experiment, bases: Iterable[str]) -> ReportingSettings:
    """A table, a figure or the tests of these bases."""
    shown = {name: experiment.bases[name] for name in dict.fromkeys(bases)}
    ablation = experiment.tables.table_d2
    return ReportingSettings(
        trials=experiment.trials,
        comparable=experiment.comparable,
        percents=experiment.evaluation.linear.percents,
        bases=shown,
        spaces={name: space for name in shown if (space := space_of(experiment, name))},
        ablation=ablation if ablation and ablation.base in shown else None,
    )
