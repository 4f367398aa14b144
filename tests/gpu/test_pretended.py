"""Everything that runs on a GPU, on a device that is as strict about mixing and counts waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo  # 3 s, which children then save
from torch import Tensor

from e2mc.config import criteria as configured
from e2mc.config.criteria import Criterion
from e2mc.config.evaluation import LinearFit
from e2mc.config.methods import VICReg
from e2mc.config.settings import Crops, DataSetSettings, ExtractSettings, TrainSettings
from e2mc.criteria import CRITERIA, slices
from e2mc.data.imagenet import open_imagenet
from e2mc.evaluation import fine_tuning, inat18, neighbours, probe
from e2mc.evaluation.feature_files import Features, open_pair
from e2mc.evaluation.features import extract
from e2mc.evaluation.fine_tuning import fine_tune
from e2mc.training.distributed import Place
from e2mc.training.history import History
from e2mc.training.loop import _open_data
from e2mc.training.optim import set_learning_rate
from e2mc.training.resumable import Session, States
from e2mc.training.run import Run, build_run
from e2mc.training.step import autocast, loss_of, update
from tests.evaluation import tiny_semisup
from tests.evaluation.cached_features import clusters, write_features
from tests.gpu.pretended import Pretended, in_a_child, pretended_accelerator, waits
from tests.training.tiny import CRITERION, RECIPES, tiny_settings, write_images

ALONE = Place(0, 1, 0)
KINDS = {
    model.model_fields["kind"].default: model
    for model in vars(configured).values()
    if isinstance(model, type) and "kind" in getattr(model, "model_fields", {})
}
COLOURED: dict[str, Any] = {
    "solarize_probability": (0.3,),
    "blur_probability": (0.5,),
    "jitter_probability": 0.8,
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@contextmanager
def accelerator() -> Iterator[torch.device]:
    """The pretended device, found by whatever looks for a GPU."""
    with pretended_accelerator() as device, pytest.MonkeyPatch.context() as patched:
        patched.setattr(Place, "device", property(lambda place: device))
        for module in (probe, inat18):
            patched.setattr(module, "best_device", lambda: device)
        patched.setattr(slices, "_draw_normal", _draw_on_the_host)
        yield device


def _draw_on_the_host(
    rows: int, columns: int, seed: int, step: Tensor, device: torch.device
) -> Tensor:
    """The pretended device has no generators."""
    generator = torch.Generator().manual_seed(seed + int(step))
    return torch.randn(rows, columns, generator=generator).to(device, non_blocking=True)


def settings_of(images: Path, method: str, kind: str | None, pipeline: str) -> TrainSettings:
    criterion: Criterion | None = None
    if kind is not None:
        criterion = CRITERION if kind == "e2mc" else KINDS[kind]()
    settings = tiny_settings(images, method, criterion)
    views = settings.recipe.views.model_copy(update={**COLOURED, "pipeline": pipeline})
    recipe = settings.recipe.model_copy(update={"views": views})
    return settings.model_copy(update={"recipe": recipe})


def steps(settings: TrainSettings, number: int) -> Iterator[tuple[Run, Tensor]]:
    """So many steps as the loop does them: the run after each, and its loss."""
    run, history = build_run(settings, None, ALONE), History()
    set_learning_rate(run.optimizer, 0.01)
    precision, data = autocast("float32", ALONE.device), _open_data(settings, ALONE)
    batches = chain.from_iterable(data.epoch(epoch) for epoch in count())
    for views, _ in islice(batches, number):
        loss, values = loss_of(run, run.module, views, precision, Path("state"))
        update(run, loss)
        history.add(values, 8, 0, seconds=1.0, waited=0.0)
        yield run, loss


def train_on_both(images: Path, method: str, kind: str | None, pipeline: str) -> None:
    settings, found = settings_of(images, method, kind, pipeline), []
    with accelerator():
        for run, loss in steps(settings, 2):
            own = [loss, *run.module.parameters(), *run.module.buffers()]
            assert all(isinstance(tensor, Pretended) for tensor in own)
            found.append((loss.item(), weights_of(run)))
    ((run, loss),) = steps(settings, 1)
    expected = weights_of(run)
    assert found[0][0] == pytest.approx(loss.item(), rel=1e-4)
    assert (found[0][1] - expected).norm() < 1e-4 * expected.norm()


def weights_of(run: Run) -> Tensor:
    return torch.cat([weight.detach().cpu().flatten() for weight in run.module.parameters()])


@pytest.mark.parametrize("method", RECIPES)
def test_a_method_trains_as_on_the_cpu(photographs: Path, method: str) -> None:
    in_a_child(train_on_both, photographs, method, "e2mc", "device")


@pytest.mark.parametrize("kind", [None, *(kind for kind in CRITERIA if kind != "e2mc")])
def test_a_criterion_trains_as_on_the_cpu(photographs: Path, kind: str | None) -> None:
    in_a_child(train_on_both, photographs, "vicreg", kind, "tensor")


def count_waits(images: Path, method: str, pipeline: str) -> None:
    with accelerator():
        for _ in steps(settings_of(images, method, "e2mc", pipeline), 5):
            counted = dict(waits)
            waits.clear()
    finite_loss, guard_of_two_views = 1, 2  # CUDA has the verdict of the guard in the next step
    assert sum(counted.values()) <= finite_loss + guard_of_two_views, counted


@pytest.mark.parametrize("pipeline", ["tensor", "device"])
@pytest.mark.parametrize("method", ["vicreg", "swav", "simsiam"])
def test_the_host_waits_for_little_in_a_steady_step(
    photographs: Path, method: str, pipeline: str
) -> None:
    in_a_child(count_waits, photographs, method, pipeline)


def probe_on_both(rule: str, precision: str) -> None:
    x, labels = clusters(300, 12, 4, views=2)
    heads = [
        probe.Head(LinearFit(learning_rate=rate, epochs=3, rule=rule, batch_size=32), seed)
        for rate, seed in ((0.1, 0), (0.3, 0), (0.1, 1))
    ]

    def fit() -> list[probe.FittedHead]:
        given = x.astype(np.float16)
        test = given[0, :60], labels[:60]
        return probe.fit_heads(
            lambda view: given[view], 2, labels, *test, 4, heads, precision=precision
        )

    expected = fit()
    with accelerator():
        found = fit()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.weight, other.weight, rtol=1e-3, atol=1e-5)
        assert np.mean(one.predictions == other.predictions) > 0.99


@pytest.mark.parametrize(("rule", "precision"), [("sgd", "float32"), ("larc", "bfloat16")])
def test_probes_end_as_on_the_cpu(rule: str, precision: str) -> None:
    in_a_child(probe_on_both, rule, precision)


def probe_maps(folder: Path) -> None:
    x, labels = clusters(120, 16, 3, views=2)
    made = {"kind": "quarters", "dataset": "inat18"}
    train = write_features(folder / "train", x, labels, crops=["random"] * 2, **made)
    test = write_features(folder / "test", x[:1], labels, crops=["center"], split="test", **made)
    pair = open_pair(train, test)
    fit = LinearFit(learning_rate=0.05, weight_decay=1e-4, epochs=3, milestones=(2,), batch_size=16)
    expected, _ = inat18.fit_maps(*pair, fit, seed=0)
    with accelerator():
        found, _ = inat18.fit_maps(*pair, fit, seed=0)
    assert [epoch.train_loss for epoch in found] == pytest.approx(
        [one.train_loss for one in expected]
    )


def test_the_probe_of_maps_ends_as_on_the_cpu(tmp_path: Path) -> None:
    in_a_child(probe_maps, tmp_path)


def look_for_neighbours() -> None:
    x, labels = clusters(200, 8, 3, views=1)
    rows, memory = x[0].astype(np.float16) + np.float16(0.01), 40_000

    def look(device: str) -> tuple[Any, Any]:
        votes = neighbours.knn_top1(
            rows, labels, rows[::3], labels[::3], (5, 20), memory=memory, device=device
        )
        return votes, neighbours.neighbour_distances(rows, (1, 10), memory=memory, device=device)

    votes, distances = look("cpu")
    with accelerator() as device:
        found_votes, found_distances = look(str(device))
    assert found_votes.top1 == votes.top1
    np.testing.assert_allclose(found_distances, distances, rtol=1e-9)


def test_neighbours_are_those_of_the_cpu() -> None:
    in_a_child(look_for_neighbours)


def tune(root: Path, folder: Path) -> list[float]:
    settings = tiny_semisup.settings(root)
    train, test = (open_imagenet(settings.data, split) for split in ("train", "test"))
    run = fine_tuning.build(settings, 10, root / "model.safetensors", 2, ALONE)
    states = States(folder, Session(ALONE, Any, Any))  # type: ignore[arg-type]
    states.between_steps = lambda run, last: None  # type: ignore[method-assign]
    fine_tune(run, settings, settings.fits[10], train, test, states, None)
    return [epoch.train_loss for epoch in run.history]


def tune_on_both(root: Path, folder: Path) -> None:
    expected = tune(root, folder)
    with accelerator():
        assert tune(root, folder) == pytest.approx(expected, rel=1e-3)


def extract_all(root: Path, folder: Path) -> tuple[Features, Features]:
    plain = tiny_semisup.settings(root)
    seen = DataSetSettings(data=plain.data, train=Crops(views=2), test=Crops())
    settings = ExtractSettings(
        backbone=plain.backbone,
        images=plain.images,
        normalization_std=plain.normalization_std,
        pipeline="fast",
        precision="float32",
        flip_probability=0.5,
        batch_size=7,
        workers=0,
        seed=0,
        recipe=VICReg(),
        datasets={"imagenet": seen},
        embedding_samples=2,
    )
    extract(settings, root / "model.safetensors", folder)
    return open_pair(*(folder / f"imagenet-{split}/index.json" for split in ("train", "test")))


def extract_on_both(root: Path, folder: Path) -> None:
    expected = extract_all(root, folder / "cpu")
    with accelerator():
        found = extract_all(root, folder / "pretended")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.whole(), other.whole(), atol=2e-3)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tiny_semisup.write_data(tmp_path_factory.mktemp("labelled"))
    return root


def test_fine_tuning_ends_as_on_the_cpu(labelled: Path, tmp_path: Path) -> None:
    in_a_child(tune_on_both, labelled, tmp_path)


def test_extracted_features_are_those_of_the_cpu(labelled: Path, tmp_path: Path) -> None:
    in_a_child(extract_on_both, labelled, tmp_path)


def mix() -> None:
    with accelerator() as device:
        here, there = torch.ones(2), torch.ones(2, device=device)
        with pytest.raises(RuntimeError, match="add mixes tensors"):
            there + here
        assert (there + torch.tensor(1.0)).tolist() == [2, 2]
        assert sum(waits.values()) == 1
        there[there > 3], there.to("cpu", non_blocking=True), torch.tensor([1.0], device=device)
        assert sum(waits.values()) == 3


def test_the_pretended_device_is_as_strict_as_a_gpu() -> None:
    in_a_child(mix)
