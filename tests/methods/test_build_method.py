import pytest
import torch
from pydantic import ValidationError
from torch import nn

from e2mc.config.methods import Backbone, Training
from e2mc.criteria import EntropyReconstruction, MutualInformation
from e2mc.errors import E2MCError
from e2mc.methods import build_method
from e2mc.models.heads import build_network, read_recipe

SMALL = Backbone(layers=(1, 1, 1, 1), width=4, stem="cifar")
RECIPES = {
    "vicreg": {"projector": (12, 12, 10)},
    "swav": {"projector": (12, 8), "prototypes": 10, "queue_length": 0},
    "simsiam": {"projector": 12, "predictor": 6},
    "er": {"projector": (12, 12, 10)},
    "mi": {"projector": (12, 12, 10)},
}


@pytest.mark.parametrize("method", RECIPES)
def test_state_dict_is_that_of_the_network_that_checkpoints_are_imported_into(method: str) -> None:
    network = nn.ModuleDict(build_network(read_recipe(method, RECIPES[method]), SMALL))
    module = build_method(method, RECIPES[method], SMALL)
    assert list(module.state_dict()) == list(network.state_dict())
    heads = {"swav": {"prototypes"}, "simsiam": {"predictor"}}.get(method, set())
    assert {name.split(".")[0] for name in module.state_dict()} == {"backbone", "projector"} | heads


@pytest.mark.parametrize("method", RECIPES)
def test_every_trainable_parameter_is_in_one_group(method: str) -> None:
    module = build_method(method, RECIPES[method], SMALL)
    groups = module.parameter_groups(Training(learning_rate=0.1))
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", RECIPES)
def test_a_step_against_the_gradient_lowers_the_loss(method: str) -> None:
    torch.manual_seed(0)
    module = build_method(method, RECIPES[method], SMALL)
    views = [torch.randn(16, 3, 8, 8) for _ in range(2)]
    views[1] = views[0] + 0.1 * views[1]
    before = module(views).loss
    before.backward()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
    assert module(views).loss < before


def test_residual_branches_start_at_zero_except_in_swav() -> None:
    for method, recipe in RECIPES.items():
        weight = build_method(method, recipe, SMALL).backbone.layer1[0].bn3.weight
        assert weight.eq(1.0 if method == "swav" else 0.0).all()


@pytest.mark.parametrize(
    ("method", "objective"), [("er", EntropyReconstruction), ("mi", MutualInformation)]
)
def test_direct_methods_minimise_their_objective(method: str, objective: type) -> None:
    torch.manual_seed(0)
    module = build_method(method, RECIPES[method], SMALL)
    views = [torch.randn(16, 3, 8, 8) for _ in range(2)]
    step = module(views)
    assert len(step.embeddings) == 2
    torch.testing.assert_close(step.loss, objective()(step.embeddings))
    assert step.terms and all(name.startswith(f"{method}_") for name in step.terms)


def test_recipes_are_checked() -> None:
    with pytest.raises(E2MCError, match="unknown method 'vicregg'; known: vicreg"):
        build_method("vicregg", {}, SMALL)
    with pytest.raises(ValidationError, match="did you mean 'prototypes'"):
        build_method("swav", {"prototype": 3}, SMALL)
