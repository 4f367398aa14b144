"""Memory counted on the meta device against tensors that exist, and what checkpointing saves."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from e2mc.config import load_experiment, stages
from e2mc.config.settings import TrainSettings
from e2mc.models import load_state
from e2mc.training.distributed import Place
from e2mc.training.memory import memory_of
from e2mc.training.run import build_run
from tests.training.tiny import CRITERION, in_children, join, tiny_settings, train

PAPER = Path(__file__).parents[2] / "config/paper.yaml"


def checkpointed(settings: TrainSettings) -> TrainSettings:
    training = settings.training.model_copy(update={"checkpointing": True})
    return settings.model_copy(update={"training": training})


@pytest.mark.parametrize(
    ("base", "gigabytes"), [("vicreg-1000", 22.4), ("swav-800", 34.8), ("simsiam-100", 44.0)]
)
def test_activations_of_the_papers_recipes(base: str, gigabytes: float) -> None:
    """Against what fake tensors of a whole step in the recipe's precision gave, without views."""
    settings = stages.pretrain_settings(load_experiment(PAPER), base, "e2mc", trial=0)
    needed = memory_of(settings, processes=2)
    assert needed.images == 256
    assert 256 * needed.per_image == pytest.approx(gigabytes * 1e9, rel=0.02)


@pytest.mark.parametrize("method", ["vicreg", "simsiam"])
def test_what_is_counted_is_what_autograd_keeps(images: Path, method: str) -> None:
    settings = tiny_settings(images, method)
    run = build_run(settings, None, Place(0, 1, 0))

    def kept(number: int) -> int:
        found: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        views = [torch.randn(number, 3, 8, 8) for _ in range(2)]
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            alive = [run.module.embed(view) for view in views]
        assert alive
        views_too = {view.data_ptr(): view for view in views}
        return sum(each.untyped_storage().nbytes() for each in {**views_too, **found}.values())

    counted = memory_of(settings, processes=1).per_image
    # the first convolution keeps its view, which is counted among the views once more
    assert 8 * counted - 8 * 2 * 3 * 8 * 8 * 4 == kept(16) - kept(8)


@pytest.mark.parametrize("method", ["vicreg", "swav"])
def test_checkpointing_changes_no_bit_and_no_statistics(
    images: Path, tmp_path: Path, method: str
) -> None:
    settings = tiny_settings(images, method, CRITERION)
    first = load_state(train(settings, tmp_path / "kept"))
    second = load_state(train(checkpointed(settings), tmp_path / "again"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert checkpointed(settings).model_dump() == settings.model_dump(), "nothing is trained anew"


def test_checkpointing_on_two_processes_changes_no_bit(images: Path, tmp_path: Path) -> None:
    settings = tiny_settings(images, "simsiam", CRITERION, epochs=1)
    for name, each in (("kept", settings), ("again", checkpointed(settings))):
        join(in_children(train, each, tmp_path / name, processes=2))
    first, second = (
        load_state(tmp_path / name / "model.safetensors") for name in ("kept", "again")
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_checkpointing_keeps_less() -> None:
    settings = stages.pretrain_settings(load_experiment(PAPER), "vicreg-1000", "e2mc", trial=0)
    plain, less = (memory_of(each, 2).per_image for each in (settings, checkpointed(settings)))
    assert 0.3 * plain < less < 0.5 * plain
