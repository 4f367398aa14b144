"""What a GPU computes, against a CPU: twelve checks, in at most five minutes.

With E2MC_REHEARSE=1 they run on a CPU, in small.
"""

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.testing import assert_close

from e2mc.config import load_experiment, stages
from e2mc.config.experiment import Images
from e2mc.config.fits import LinearFit
from e2mc.criteria import CRITERIA, E2MC, Criterion, slices
from e2mc.data.imagenet import open_imagenet
from e2mc.data.views import TrainingViews
from e2mc.evaluation import neighbours, probe
from e2mc.methods import build_method
from e2mc.models import load_state
from e2mc.training.arithmetic import set_arithmetic
from e2mc.training.distributed import Place
from e2mc.training.memory import CONTEXT_BYTES, memory_of
from e2mc.training.optim import build_optimizer, momentum_of
from e2mc.training.state import load_newest_state
from e2mc.training.step import autocast, loss_of, update
from tests.evaluation import tiny_semisup
from tests.evaluation.cached_features import clusters
from tests.gpu.jobs import (
    ALONE,
    ended,
    keep_every_state,
    new_run,
    settings_of,
    started,
    steps,
    stop_after,
)
from tests.gpu.test_pretended import KINDS, extract_all
from tests.small_experiment import ROOT, checkout, small_experiment
from tests.training.tiny import CRITERION, train, write_images

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
METHODS = {"vicreg": "vicreg-1000", "swav": "swav-800", "simsiam": "simsiam-100"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Whatever looks for a device finds this one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Place, "device", property(lambda place: device))
        patched.setattr(probe, "best_device", lambda: device)
        yield


def error(found: Tensor, expected: Tensor) -> float:
    """Relative L2 distance."""
    found, expected = found.cpu().double(), expected.cpu().double()
    return float((found - expected).norm() / expected.norm())


def test_01_versions_are_shown(device: torch.device, say: list[str]) -> None:
    backends = torch.backends
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU: a rehearsal"
    nccl = torch.cuda.nccl.version() if device.type == "cuda" else None
    say.append(
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {backends.cudnn.version()}, "
        f"NCCL {nccl}, {name}"
    )
    assert not backends.cudnn.allow_tf32 or device.type == "cpu"
    assert not backends.cuda.matmul.allow_tf32


def spread(rows: int, columns: int, dtype: torch.dtype) -> list[Tensor]:
    """Two views of distinct values: normal quantiles, in every column in another order."""
    generator = torch.Generator().manual_seed(0)
    quantiles = torch.special.ndtri((torch.arange(rows, dtype=torch.float64) + 0.5) / rows)
    orders = torch.rand(2, rows, columns, generator=generator).argsort(dim=1)
    return list(quantiles[orders].to(dtype))


def measured_on(device: torch.device, kind: str, views: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Value and gradient of a criterion with its default weights."""
    parameters = (CRITERION if kind == "e2mc" else KINDS[kind]()).model_dump(exclude={"kind"})
    criterion: Criterion = CRITERIA[kind](**parameters).to(device)
    given = [view.to(device).requires_grad_() for view in views]
    value = criterion(given)
    gradients = torch.autograd.grad(value, given)
    return value.detach(), torch.cat(gradients)


def _directions(rows: int, columns: int, seed: int, device: torch.device) -> Tensor:
    """A GPU's generator draws others than a CPU's."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator).to(device)


@pytest.mark.parametrize("columns", [128, 2048])
@pytest.mark.parametrize("kind", CRITERIA)
def test_02_criteria(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, kind: str, columns: int
) -> None:
    monkeypatch.setattr(slices, "_draw_normal", _directions)
    rows, columns = (512, columns) if device.type == "cuda" else (64, columns // 16)
    exact = measured_on(CPU, kind, spread(rows, columns, torch.float64))
    double = measured_on(device, kind, spread(rows, columns, torch.float64))
    assert max(map(error, double, exact)) < 1e-9
    single = measured_on(device, kind, spread(rows, columns, torch.float32))
    at_cpu = measured_on(CPU, kind, spread(rows, columns, torch.float32))
    # what is ill-conditioned is so on a CPU as well
    assert error(single[0], exact[0]) < max(1e-5, 4 * error(at_cpu[0], exact[0]))
    assert error(single[1], exact[1]) < max(1e-4, 4 * error(at_cpu[1], exact[1]))


def test_02_e2mc_at_the_width_of_vicreg_and_twice(device: torch.device) -> None:
    views = spread(512, 8192 if device.type == "cuda" else 256, torch.float32)
    found = []
    for where in (CPU, device, device):
        given = [view.to(where).requires_grad_() for view in views]
        loss = E2MC("hypercube", 1000, 100)(given)
        found.append((loss.detach(), torch.cat(torch.autograd.grad(loss, given))))
    (value, gradient), (first, first_gradient), (second, second_gradient) = found
    assert error(first, value) < 1e-5
    assert error(first_gradient, gradient) < 1e-4
    assert torch.equal(first, second)
    assert torch.equal(first_gradient, second_gradient)


@pytest.mark.parametrize("pipeline", ["tensor", "device"])
def test_03_views(device: torch.device, photographs: Path, pipeline: str) -> None:
    settings = settings_of(photographs, "swav")
    colourful = {
        **{"pipeline": pipeline, "solarize_probability": (0.3,), "gray_probability": 0.3},
        **{"normalization_std": (1.0, 1.0, 1.0)},
    }
    recipe = settings.recipe.views.model_copy(update=colourful)
    found = []
    for where in (CPU, device):
        data = TrainingViews(
            open_imagenet(settings.data, "train"),
            recipe,
            Images(size=64, small_size=48),
            24,
            0,
            0,
            where,
        )
        views, _ = next(data.epoch(0))
        found.append([view.cpu() for view in views])
    for at_cpu, there in zip(*found, strict=True):
        # hue has corners, and solarisation a jump
        assert ((at_cpu - there).abs() > 2e-5).float().mean() <= 1e-4


def test_04_a_resnet_50(device: torch.device, say: list[str]) -> None:
    settings = stages.pretrain_settings(
        load_experiment(ROOT / "config/paper.yaml"), "swav-800", "e2mc", trial=0
    )
    size = 224 if device.type == "cuda" else 64
    torch.manual_seed(0)
    module = build_method(settings.recipe, settings.backbone)
    images = torch.randn(8, 3, size, size).contiguous(memory_format=torch.channels_last)
    module.to(memory_format=torch.channels_last)
    expected = module.embed(images).detach()
    there, images = module.to(device), images.to(device)
    exact = error(there.embed(images).detach(), expected)
    set_arithmetic(settings)
    rounded = error(there.embed(images).detach(), expected)
    say.append(f"ResNet-50 and SwAV's head: float32 {exact:.1e}, with TF32 {rounded:.1e} off a CPU")
    assert exact < 1e-4
    assert rounded < 5e-3
    criterion = E2MC("hypersphere", 1, 25)
    loss = criterion([expected]).item()
    for precision, bound in (("float16", 1e-2), ("bfloat16", 3e-2)):
        with autocast(precision, device):
            half = there.embed(images)
        assert abs(criterion([half]).item() - loss) < bound * abs(loss)


@pytest.mark.parametrize("method", METHODS)
def test_05_steps_in_float16(device: torch.device, photographs: Path, method: str) -> None:
    settings = settings_of(photographs, method, precision="float16")
    with on(device):
        run = new_run(settings)
        before = weights_of(run)
        losses = [loss.item() for loss in steps(run, settings, ALONE, 5)]
        assert np.isfinite(losses).all()
        assert error(weights_of(run), before) > 0
        before, momentum = weights_of(run), momentum_of_all(run)
        step, scale = run.step, run.scaler.get_scale()
        views = [torch.full((8, 3, 64, 64), torch.inf, device=device) for _ in range(2)]
        precision = autocast("float16", device)
        loss, terms = loss_of(run, run.module, views, precision, Path("state"))
        update(run, loss)
    assert terms == {}
    assert torch.equal(weights_of(run), before)
    assert torch.equal(momentum_of_all(run), momentum)
    assert run.scaler.get_scale() == scale / 2
    assert (run.step, run.skipped) == (step + 1, 1)


def weights_of(run: Any) -> Tensor:
    """All but SwAV's prototypes, which a forward pass normalises."""
    named = run.module.named_parameters()
    return torch.cat([one.detach().cpu().flatten() for name, one in named if "proto" not in name])


def momentum_of_all(run: Any) -> Tensor:
    held = momentum_of(run.optimizer, run.module).values()
    return torch.cat([one.cpu().flatten() for one in held])


@pytest.mark.parametrize("method", METHODS)
def test_05_updates_are_those_of_the_cpu(
    device: torch.device, photographs: Path, method: str
) -> None:
    settings, found = settings_of(photographs, method), []
    for where in (CPU, device):
        torch.manual_seed(0)
        module = build_method(settings.recipe, settings.backbone)
        generator = torch.Generator().manual_seed(1)
        groups = module.parameter_groups(settings.training)
        gradients = [torch.randn(p.shape, generator=generator) for p in module.parameters()]
        module.to(where)
        optimizer = build_optimizer(groups, settings.recipe.optimizer, learning_rate=0.1)
        for _ in range(5):
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter.grad = gradient.to(where) if parameter.requires_grad else None
            optimizer.step()
        found.append(torch.cat([p.detach().cpu().flatten() for p in module.parameters()]))
    assert error(found[1], found[0]) < 1e-5


@pytest.mark.parametrize(("precision", "ceiling"), [("float32", 1), ("float16", 4)])
@pytest.mark.parametrize("method", METHODS)
def test_06_the_host_waits_for_little_in_a_steady_step(
    device: torch.device, photographs: Path, method: str, precision: str, ceiling: int
) -> None:
    """The finite loss; in float16 also the scale, twice, and whether a gradient is infinite."""
    if device.type == "cpu":
        pytest.skip("the pretended accelerator counts them")
    settings = settings_of(photographs, method, precision=precision)
    with on(device), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        run = new_run(settings)
        try:
            for _ in steps(run, settings, ALONE, 5):
                counted = [str(one.message) for one in caught if "synchroniz" in str(one.message)]
                caught.clear()
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    assert len(counted) <= ceiling, counted


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("method", ["vicreg", "swav"])
def test_07_an_interrupted_training(
    device: torch.device,
    photographs: Path,
    tmp_path: Path,
    say: list[str],
    method: str,
    deterministic: bool,
) -> None:
    options = {"precision": "float16" if device.type == "cuda" else "float32", "epochs": 2}
    settings = settings_of(photographs, method, deterministic=deterministic, **options)
    began = time.perf_counter()
    ended(started(keep_every_state, settings, tmp_path / "undisturbed"))
    seconds = time.perf_counter() - began
    ended(started(stop_after, 3, settings, tmp_path / "stopped"), status=75)
    ended(started(keep_every_state, settings, tmp_path / "stopped"))
    models = [tmp_path / name / "model.safetensors" for name in ("undisturbed", "stopped")]
    first, second = (
        torch.cat([t.flatten().double() for t in each.values()]) for each in map(load_state, models)
    )
    if deterministic or device.type == "cpu":
        assert torch.equal(first, second)
    assert error(second, first) < 1e-3
    (_, one), (_, other) = (last_state(tmp_path / name) for name in ("undisturbed", "stopped"))
    assert one["scaler"] == other["scaler"]
    if "queue" in one["module"]:
        assert_close(one["module"]["queue"], other["module"]["queue"], rtol=1e-2, atol=1e-3)
    mode = "deterministic" if deterministic else "as fast as it can"
    say.append(f"{method}, {mode}: {seconds:.1f} s for a start and six steps")


def last_state(folder: Path) -> tuple[int, dict[str, Any]]:
    state = load_newest_state(folder / "state")
    assert state is not None
    return state


def test_08_features(device: torch.device, tmp_path: Path) -> None:
    root = tiny_semisup.write_data(tmp_path / "data")
    with on(CPU):
        expected = extract_all(root, tmp_path / "cpu")
    with on(device):
        there = extract_all(root, tmp_path / "gpu")
        written = {path: path.stat().st_mtime_ns for path in (tmp_path / "gpu").rglob("*.npy")}
        extract_all(root, tmp_path / "gpu")
    for one, other in zip(there, expected, strict=True):
        close = np.abs(one.whole().astype(np.float32) - other.whole().astype(np.float32)) < 5e-3
        assert close.mean() >= 0.999
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "gpu").rglob("*.npy")}


@pytest.mark.parametrize("rule", ["sgd", "larc"])
def test_09_probes(device: torch.device, rule: str) -> None:
    x, labels = clusters(600, 32, 10, views=2)
    given, fit = x.astype(np.float16), LinearFit(learning_rate=0.1, epochs=4, rule=rule)
    heads, fitted = [probe.Head(fit, 0)], []
    for where in (CPU, device):
        with on(where):
            fitted += probe.fit_heads(
                lambda view: given[view], 2, labels, given[0], labels, 10, heads
            )
    expected, there = fitted
    assert error(torch.from_numpy(there.weight), torch.from_numpy(expected.weight)) < 1e-3
    assert np.mean(there.predictions == expected.predictions) >= 0.995


def test_09_neighbours(device: torch.device) -> None:
    x, labels = clusters(2000, 64, 10, views=1)
    rows, memory = x[0].astype(np.float16) + np.float16(0.01), 4_000_000
    expected, there = (
        neighbours.knn_top1(
            rows, labels, rows[::3], labels[::3], (20,), memory=memory, device=str(where)
        )
        for where in (CPU, device)
    )
    assert np.mean(there.predictions[20] == expected.predictions[20]) >= 0.999
    distances = [
        neighbours.neighbour_distances(rows, (1, 10), memory=memory, device=str(where))
        for where in (CPU, device)
    ]
    np.testing.assert_allclose(*distances, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_10_memory_is_what_was_foreseen(device: torch.device, say: list[str], method: str) -> None:
    if device.type == "cpu":
        pytest.skip("a CPU's memory is not counted")
    settings = stages.pretrain_settings(
        load_experiment(ROOT / "config/paper.yaml"), METHODS[method], "e2mc", trial=0
    )
    training, batch = settings.training, 32
    views, sizes = settings.recipe.views, settings.images
    shapes = [sizes.size] * views.full_views + [sizes.small_size] * views.small_views
    with on(device):
        run = new_run(settings)
        precision = autocast(training.precision, device)
        for _ in range(3):
            torch.cuda.reset_peak_memory_stats(device)
            given = [
                torch.randn(batch, 3, size, size, device=device).contiguous(
                    memory_format=torch.channels_last
                )
                for size in shapes
            ]
            loss, _ = loss_of(run, run.module, given, precision, Path("state"))
            update(run, loss)
            del loss, given
    peak = torch.cuda.max_memory_allocated(device)
    needed = memory_of(settings, training.batch_size // batch)
    foreseen = needed.bytes - CONTEXT_BYTES
    say.append(
        f"{method}: peak at {batch} images {peak / 1e9:.2f} GB, foreseen {foreseen / 1e9:.2f}; at "
        f"256 {(256 * needed.per_image + needed.parameters) / 1e9:.1f}"
    )
    assert peak == pytest.approx(foreseen, rel=0.15)


def test_11_the_command_line(device: torch.device, tmp_path: Path) -> None:
    """From training to every evaluation, by the workflow, on the demo in small."""
    if device.type == "cpu":
        pytest.skip("tests/workflow does so on a CPU")
    folder = checkout(tmp_path, small_experiment())
    command = [sys.executable, "-m", "snakemake", "all", "--cores", "4", "--quiet", "host"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (metrics, *_) = (folder / "results/demo").rglob("pretrain/**/metrics.json")
    used = yaml.safe_load(metrics.read_text())["provenance"]["device"]
    assert used != "cpu"


@pytest.mark.parametrize("method", METHODS)
def test_12_it_is_fed(
    device: torch.device, photographs: Path, tmp_path: Path, say: list[str], method: str
) -> None:
    """A feed that takes the CPU nothing; `benchmarks/resnet50.py` measures true ones."""
    settings = settings_of(photographs, method, epochs=4, batch_size=24)
    views = settings.recipe.views.model_copy(update={"pipeline": "tensor"})
    changes: dict[str, Any] = {"recipe": settings.recipe.model_copy(update={"views": views})}
    if device.type == "cuda":
        paper = load_experiment(ROOT / "config/paper.yaml")
        changes |= {"backbone": paper.backbone, "images": paper.images}
    with on(device):
        train(settings.model_copy(update=changes), tmp_path)
    header, *_, last = (tmp_path / "history.csv").read_text().splitlines()
    row = dict(zip(header.split(","), last.split(","), strict=True))
    speed, share = float(row["images_per_second"]), float(row["data_wait_share"])
    say.append(f"{method}: {speed:.0f} images/s, {100 * share:.0f} % of the time waiting for data")
    if device.type == "cuda":
        assert share < 0.1
