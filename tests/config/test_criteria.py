"""Every criterion can be chosen by name in a configuration."""

import inspect
from typing import get_args

import pytest
import torch

from e2mc.config.criteria import Criterion
from e2mc.criteria import CRITERIA

MODELS = {model.model_fields["kind"].default: model for model in get_args(get_args(Criterion)[0])}
REQUIRED = {"e2mc": {"space": "hypersphere", "entropy_weight": 1.0, "covariance_weight": 25.0}}


def test_configuration_and_library_know_the_same_criteria() -> None:
    assert set(MODELS) == set(CRITERIA)


@pytest.mark.parametrize("kind", MODELS)
def test_every_parameter_can_be_configured_and_has_the_same_default(kind: str) -> None:
    parameters = dict(inspect.signature(CRITERIA[kind]).parameters)
    parameters.pop("gather")  # belongs to the run, not to the criterion
    fields = {name: field for name, field in MODELS[kind].model_fields.items() if name != "kind"}
    assert set(fields) == set(parameters)
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        assert fields[name].is_required() == required, name
        if not required:
            assert fields[name].default == parameter.default, name
            assert type(fields[name].default) is type(parameter.default), name


@pytest.mark.parametrize("kind", MODELS)
def test_a_configured_criterion_is_built_and_gives_a_finite_loss_with_gradient(kind: str) -> None:
    configured = MODELS[kind](**REQUIRED.get(kind, {}))
    criterion = CRITERIA[kind](**configured.model_dump(exclude={"kind"}))
    views = [torch.randn(32, 8, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    views = [view.requires_grad_() for view in views]
    loss = criterion(views)
    loss.backward()
    assert torch.isfinite(loss)
    for view in views:
        assert view.grad is not None
        assert torch.isfinite(view.grad).all()
        assert view.grad.abs().sum() > 0
