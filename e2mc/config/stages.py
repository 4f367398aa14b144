"""The slice of an experiment that each stage depends on, and nothing more.

A Snakemake rule has the slice as its parameter and the command line hands the same slice to the
stage, so a changed key reruns exactly the stages that can see it.
"""

from collections.abc import Iterable
from typing import Any, Literal

from e2mc.config.criteria import Criterion
from e2mc.config.experiment import UNTRAINED, Experiment
from e2mc.config.methods import Method, Training, Views
from e2mc.config.settings import (
    Dataset,
    ExtractSettings,
    FineTuneSettings,
    ImageNetSettings,
    ImportSettings,
    INatSettings,
    LinearSettings,
    NeighbourSettings,
    ReportingSettings,
    SVMSettings,
    TrainSettings,
)


def _recipe(experiment: Experiment, method: Method) -> dict[str, Any]:
    recipe = getattr(experiment.methods, method)
    return dict(recipe.model_dump(exclude={"continued", "scratch"}))


def _views(experiment: Experiment, base: str) -> Views:
    recipe = getattr(experiment.methods, experiment.bases[base].method)
    views: Views = recipe.views
    return views


def _evaluation_pipeline(experiment: Experiment, base: str) -> Literal["pillow", "fast", "tensor"]:
    in_memory = _views(experiment, base).pipeline == "tensor"
    return "tensor" if in_memory else experiment.evaluation.pipeline


def _protocol_method(method: Method) -> Method:
    """`er` and `mi` have no published protocol: they are probed as VICReg is."""
    return "vicreg" if method in ("er", "mi") else method


def _imagenet(experiment: Experiment) -> ImageNetSettings:
    data = experiment.data
    held_out = data.validation_fraction if data.evaluate_on == "validation" else None
    return ImageNetSettings(
        root=data.imagenet.root, lists=data.imagenet.lists, validation_fraction=held_out
    )


def criterion_of(experiment: Experiment, base: str, criterion: str) -> Criterion | None:
    """The criterion by name; grid cells of Table D.2 are named ``grid-<beta>-<gamma>``."""
    if criterion in UNTRAINED:
        return None
    method = experiment.bases[base].method
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


def import_settings(experiment: Experiment, base: str) -> ImportSettings:
    """The import of a base model's checkpoint."""
    method = experiment.bases[base].method
    recipe = _recipe(experiment, method)
    shape = {key: recipe[key] for key in _SHAPE if key in recipe}
    if shape.get("queue_length"):
        shape["views"] = {"full_views": recipe["views"]["full_views"]}
    return ImportSettings(method=method, recipe=shape, backbone=experiment.backbone)


_SHAPE = ("projector", "prototypes", "predictor", "queue_length", "restore_momentum")


def scratch_settings(experiment: Experiment, base: str) -> TrainSettings:
    """A base model from random weights."""
    return _training(experiment, base, experiment.training(base, scratch=True), None, trial=0)


def pretrain_settings(
    experiment: Experiment, base: str, criterion: str, trial: int
) -> TrainSettings:
    """Continued pre-training of a base with a criterion."""
    added = criterion_of(experiment, base, criterion)
    return _training(experiment, base, experiment.training(base, scratch=False), added, trial)


def _training(
    experiment: Experiment, base: str, training: Training, criterion: Criterion | None, trial: int
) -> TrainSettings:
    method = experiment.bases[base].method
    return TrainSettings(
        method=method,
        recipe=_recipe(experiment, method),
        training=training,
        criterion=criterion,
        backbone=experiment.backbone,
        images=experiment.images,
        data=_imagenet(experiment),
        corrupt_images=experiment.data.corrupt_images,
        tensorboard=experiment.tensorboard,
        workers=experiment.data.workers,
        seed=seed_of(experiment, trial),
    )


def seed_of(experiment: Experiment, trial: int) -> int:
    """Trials of one experiment never share a seed with those of its neighbour."""
    return experiment.seed * 1000 + trial


def extract_settings(
    experiment: Experiment, base: str, trial: int, datasets: tuple[Dataset, ...]
) -> ExtractSettings:
    """Features of one model."""
    evaluation = experiment.evaluation
    views: dict[Dataset, int] = {
        "imagenet": evaluation.linear.views,
        "inat18": evaluation.inat18.views,
        "voc07": 1,
    }
    method = experiment.bases[base].method
    training_views = _views(experiment, base)
    return ExtractSettings(
        method=method,
        recipe=_recipe(experiment, method),
        backbone=experiment.backbone,
        images=experiment.images,
        datasets={name: views[name] for name in datasets},
        inat18_pooled=evaluation.inat18.pooled,
        imagenet=_imagenet(experiment),
        inat18=experiment.data.inat18,
        voc07=experiment.data.voc07,
        voc_resize=evaluation.voc07.resize,
        normalization_std=evaluation.normalization_std,
        pipeline=_evaluation_pipeline(experiment, base),
        flip_probability=training_views.flip_probability,
        batch_size=evaluation.batch_size,
        embedding_samples=evaluation.embedding_samples,
        workers=experiment.data.workers,
        seed=seed_of(experiment, trial),
    )


def linear_settings(experiment: Experiment, base: str, trial: int) -> LinearSettings:
    """Linear probes of one model."""
    linear = experiment.evaluation.linear
    fits = getattr(linear, _protocol_method(experiment.bases[base].method))
    return LinearSettings(
        fits={percent: fits[percent] for percent in linear.percents},
        lists=experiment.data.imagenet.lists,
        precision=linear.precision,
        seed=seed_of(experiment, trial),
    )


def inat_settings(experiment: Experiment, trial: int) -> INatSettings:
    """The iNat18 probe."""
    return INatSettings(protocol=experiment.evaluation.inat18, seed=seed_of(experiment, trial))


def semisup_settings(experiment: Experiment, base: str, trial: int) -> FineTuneSettings:
    """Semi-supervised fine-tuning of one model."""
    evaluation = experiment.evaluation
    fits = getattr(evaluation.semisup, _protocol_method(experiment.bases[base].method))
    return FineTuneSettings(
        backbone=experiment.backbone,
        images=experiment.images,
        fits={percent: fits[percent] for percent in evaluation.semisup.percents},
        batch_norm=evaluation.semisup.batch_norm,
        optimizer=evaluation.semisup.optimizer,
        data=_imagenet(experiment),
        views=_views(experiment, base),
        pipeline=_evaluation_pipeline(experiment, base),
        normalization_std=evaluation.normalization_std,
        batch_size=evaluation.batch_size,
        workers=experiment.data.workers,
        seed=seed_of(experiment, trial),
    )


def svm_settings(experiment: Experiment, trial: int) -> SVMSettings:
    """The VOC07 SVMs."""
    return SVMSettings(protocol=experiment.evaluation.voc07, seed=seed_of(experiment, trial))


def neighbour_settings(experiment: Experiment, base: str) -> NeighbourSettings:
    """Nearest neighbours of one model."""
    return NeighbourSettings(
        protocol=experiment.evaluation.knn, space=space_of(experiment, base) or "hypersphere"
    )


def space_of(experiment: Experiment, base: str) -> Any:
    """The compact space of a base's E2MC criterion, None without such a criterion."""
    added = experiment.criteria.get("e2mc", {}).get(experiment.bases[base].method)
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
