import pytest
import torch

from e2mc.config.methods import (
    ER,
    MI,
    Backbone,
    BarlowTwins,
    Recipe,
    SimSiam,
    SwAV,
    Training,
    VICReg,
)
from e2mc.criteria import EntropyReconstruction, MutualInformation
from e2mc.methods import build_method

SMALL = Backbone(layers=(1, 1, 1, 1), width=4, stem="cifar")
RECIPES: dict[str, Recipe] = {
    "vicreg": VICReg(projector=(12, 12, 10)),
    "swav": SwAV(projector=(12, 8), prototypes=10, queue_length=0),
    "simsiam": SimSiam(projector=12, predictor=6),
    "er": ER(projector=(12, 12, 10)),
    "mi": MI(projector=(12, 12, 10)),
    "barlow_twins": BarlowTwins(projector=(12, 12, 10)),
}


@pytest.mark.parametrize("method", RECIPES)
def test_every_trainable_parameter_is_in_one_group(method: str) -> None:
    module = build_method(RECIPES[method], SMALL)
    groups = module.parameter_groups(Training(learning_rate=0.1))
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", RECIPES)
def test_a_step_against_the_gradient_lowers_the_loss(method: str) -> None:
    torch.manual_seed(0)
    module = build_method(RECIPES[method], SMALL)
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
        weight = build_method(recipe, SMALL).backbone.layer1[0].bn3.weight
        assert weight.eq(1.0 if method == "swav" else 0.0).all()


@pytest.mark.parametrize(
    ("method", "objective"), [("er", EntropyReconstruction), ("mi", MutualInformation)]
)
def test_direct_methods_minimise_their_objective(method: str, objective: type) -> None:
    torch.manual_seed(0)
    module = build_method(RECIPES[method], SMALL)
    views = [torch.randn(16, 3, 8, 8) for _ in range(2)]
    step = module(views)
    assert len(step.embeddings) == 2
    torch.testing.assert_close(step.loss, objective()(step.embeddings))
    assert step.terms and all(name.startswith(f"{method}_") for name in step.terms)
