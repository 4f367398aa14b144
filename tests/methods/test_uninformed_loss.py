"""What a model that has learned nothing loses, against the losses of such embeddings."""

import pytest
import torch

from e2mc.config.methods import RECIPES, Backbone
from e2mc.methods import build_method
from e2mc.methods.barlow_twins import barlow_twins_loss
from e2mc.methods.simsiam import simsiam_loss
from e2mc.methods.swav import swav_loss
from e2mc.methods.vicreg import vicreg_loss

SMALL = Backbone(block="basic", layers=(1, 1, 1, 1), width=2, stem="cifar")
ROWS, WIDTH = 256, 64


def unrelated(views: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (views, ROWS, WIDTH)
    return list(torch.randn(shape, generator=generator, dtype=torch.float64))


def uninformed(method: str, **recipe: object) -> float:
    module = build_method(RECIPES[method].model_validate(recipe), SMALL)
    loss = module.uninformed_loss(ROWS)
    assert loss is not None
    return loss


def test_vicreg_of_equal_embeddings() -> None:
    constant = torch.ones(ROWS, WIDTH, dtype=torch.float64)
    loss = vicreg_loss(constant, constant, 25.0, 50.0, 1.0).item()
    assert uninformed("vicreg", projector=(8, 8, 8), variance=50) == pytest.approx(loss)


def test_swav_of_equal_scores() -> None:
    scores = torch.full((ROWS, 30), 0.2, dtype=torch.float64)
    loss = swav_loss([scores, scores]).item()
    recipe = {"projector": (8, 8), "prototypes": 30, "queue_length": 0}
    assert uninformed("swav", **recipe) == pytest.approx(loss)


def test_simsiam_of_unrelated_predictions() -> None:
    loss = simsiam_loss(*unrelated(4)).item()
    expected = uninformed("simsiam", projector=8, predictor=8)
    assert expected == pytest.approx(loss, abs=4 / (WIDTH * 2 * ROWS) ** 0.5)


def test_barlow_twins_of_unrelated_views() -> None:
    loss = barlow_twins_loss(*unrelated(2), redundancy=0.1).item()
    recipe = {"projector": (8, 8, WIDTH), "redundancy": 0.1}
    assert uninformed("barlow_twins", **recipe) == pytest.approx(loss, rel=0.05)
