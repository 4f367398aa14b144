"""Every method of the registry has every fact, and one with a gap is refused."""

from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from e2mc.config import parse_experiment, stages
from e2mc.config.methods import RECIPES, AnyRecipe, Backbone, Recipe, SwAV, VICReg, check_facts
from e2mc.config.settings import ImportSettings, TrainSettings
from e2mc.methods import build_method
from e2mc.plan.estimate import estimate
from e2mc.plan.jobs import jobs
from e2mc.reporting.names import METHODS


def experiment_with(method: str, **section: Any) -> dict[str, Any]:
    """One base of the method, from scratch and continued with E2MC."""
    weights = {"kind": "e2mc", "space": "hypercube", "entropy_weight": 1, "covariance_weight": 1}
    return {
        "name": "registry",
        "comparable": True,
        "bases": {"model": {"method": method, "epochs": 1}},
        "criteria": {"e2mc": {method: weights}},
        "methods": {method: {"scratch": {"learning_rate": 0.1}, **section}},
    }


@pytest.mark.parametrize("method", RECIPES)
def test_every_fact_of_every_method_is_used_without_a_gap(method: str) -> None:
    experiment = parse_experiment(experiment_with(method), "test")
    recipe = experiment.recipe("model")
    assert recipe.method == method
    assert METHODS[method] == recipe.title
    assert set(stages.linear_settings(experiment, "model", 0).fits) == {100}
    assert set(stages.linear_online_settings(experiment, "model", 0).fits) == {1, 10}
    stage_names = {job.stage for job in jobs(experiment)}
    trained = {"scratch", "import_checkpoint", "pretrain"}
    assert stage_names >= trained | {"linear", "knn"}
    assert ("semisup" in stage_names) == bool(recipe.semisup)
    if recipe.semisup:
        assert set(stages.semisup_settings(experiment, "model", 0).fits) == {1, 10}
    trained = estimate(experiment, only={"logs/pretrain/model-e2mc-trial0.log"})
    assert trained.gpu_hours == pytest.approx(2 * recipe.hours)
    assert trained.weight_bytes == recipe.weight_bytes


@pytest.mark.parametrize("method", RECIPES)
def test_bytes_are_those_of_the_official_layout_at_full_size(method: str) -> None:
    with torch.device("meta"):
        module = build_method(RECIPES[method](), Backbone())
    held = [t for name, t in module.state_dict().items() if module.layout.official(name)]
    assert sum(t.numel() * t.element_size() for t in held) == RECIPES[method].weight_bytes
    assert module.name == method


@pytest.mark.parametrize("method", RECIPES)
def test_settings_keep_the_type_and_read_back(method: str) -> None:
    experiment = parse_experiment(experiment_with(method), "test")
    settings = stages.pretrain_settings(experiment, "model", "e2mc", 0)
    assert type(settings.recipe) is RECIPES[method]
    dumped = settings.model_dump(mode="json")
    assert not {"continued", "scratch"} & dumped["recipe"].keys()
    outside = {"corrupt_images": "stop", "tensorboard": False, "workers": 0}
    again = TrainSettings.model_validate({**dumped, **outside})
    assert type(again.recipe) is RECIPES[method]
    assert again.model_dump(mode="json") == dumped


def test_an_import_depends_on_the_shape_alone() -> None:
    def dumped(**section: Any) -> dict[str, Any]:
        experiment = parse_experiment(experiment_with("swav", **section), "test")
        return stages.import_checkpoint_settings(experiment, "model").model_dump(mode="json")

    assert dumped() == dumped(temperature=0.2, views={"scale": [0.5, 1.0]})
    assert dumped() == dumped(scratch={"learning_rate": 3.0}, continued={"epochs": 3})
    for change in ({"prototypes": 5}, {"queue_length": 0}, {"views": {"full_views": 3}}):
        assert dumped() != dumped(**change)
    read = ImportSettings.model_validate(dumped(prototypes=5))
    assert isinstance(read.recipe, SwAV) and read.recipe.prototypes == 5


def test_a_recipe_of_another_method_is_no_recipe_of_this_one() -> None:
    recipe: TypeAdapter[Recipe] = TypeAdapter(AnyRecipe)
    assert recipe.validate_python({"method": "swav", "prototypes": 3}) == SwAV(prototypes=3)
    with pytest.raises(ValidationError, match="vicregg"):
        recipe.validate_python({"method": "vicregg"})
    with pytest.raises(ValidationError, match="did you mean 'prototypes'"):
        recipe.validate_python({"method": "swav", "prototype": 3})


def test_a_method_with_a_gap_is_refused_by_name() -> None:
    class Untitled(Recipe):
        drops_last: ClassVar[bool] = True

    class Unlisted(VICReg):
        method: Literal["other"] = "other"  # type: ignore[assignment]
        fits_of: ClassVar[str] = "other"

    with pytest.raises(TypeError, match=r"Untitled in .* lacks .*`implementation`.*`title`"):
        check_facts("untitled", Untitled)
    lists = "Method, AnyRecipe, LinearFits, FineTunings"
    with pytest.raises(TypeError, match=f"add other to {lists} in e2mc.config.methods"):
        check_facts("other", Unlisted)
    with pytest.raises(TypeError, match=r"VICReg in .* is not called swav"):
        check_facts("swav", VICReg)
