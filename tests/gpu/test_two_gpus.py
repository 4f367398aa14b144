"""Two processes with a GPU each, against one: six checks, in at most three minutes.

With E2MC_REHEARSE=1 they run on CPUs, where gloo stands in for NCCL.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from e2mc.config import load_experiment
from e2mc.config.settings import TrainSettings
from e2mc.criteria import CRITERIA
from e2mc.errors import E2MCError
from e2mc.methods import Method
from e2mc.models import load_state
from e2mc.training.distributed import find_place, parallel
from e2mc.training.process_group import process_group
from e2mc.training.step import autocast, loss_of
from tests.gpu.jobs import ended, new_run, settings_of, started, steps, stop_after
from tests.gpu.test_pretended import KINDS
from tests.small_experiment import ROOT
from tests.training.tiny import CRITERION, train, write_images

pytestmark = pytest.mark.gpu(number=2)

METHODS = ("vicreg", "swav", "simsiam")
IMAGES = 8


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def differentiate(images: Path, method: str, share: int, dtype: torch.dtype, file: Path) -> None:
    """Loss and gradient with every criterion, of a batch of which rank 0 has the first rows."""
    place = find_place()
    made: dict[str, Tensor] = {}
    with process_group(place):
        for kind in CRITERIA:
            criterion = CRITERION if kind == "e2mc" else KINDS[kind]()
            run = new_run(settings_of(images, method, criterion), place)
            run.module.to(dtype)
            assert run.criterion is not None
            run.criterion.to(dtype)
            network = parallel(run.module, place)
            views = [own_rows(view, share, place.rank, place.world_size) for view in batch(method)]
            loss, _ = loss_of(
                run,
                network,
                [view.to(place.device, dtype) for view in views],
                autocast("float32", place.device),
                Path("state"),
            )
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = [p.grad.flatten() for p in run.module.parameters() if p.grad is not None]
            named = run.module.named_buffers()
            running = [b.double().flatten() for name, b in named if "running" in name]
            made[f"{kind} loss"] = loss.detach().cpu()
            made[f"{kind} gradient"] = torch.cat(gradients).cpu()
            made[f"{kind} running"] = torch.cat(running).cpu()
    torch.save(made, file.with_name(f"{file.name}.{place.rank}"))


def batch(method: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (64, 64, 48) if method == "swav" else (64, 64)
    return [torch.randn(IMAGES, 3, size, size, generator=generator) for size in sizes]


def own_rows(view: Tensor, share: int, rank: int, ranks: int) -> Tensor:
    return view if ranks == 1 else (view[:share], view[share:])[rank]


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("dtype", "share", "bound"),
    [(torch.float64, 4, 1e-9), (torch.float64, 5, 1e-9), (torch.float32, 4, 1e-3)],
)
@pytest.mark.parametrize("method", METHODS)
def test_01_two_ranks_are_one(
    photographs: Path, tmp_path: Path, method: str, dtype: torch.dtype, share: int, bound: float
) -> None:
    for ranks in (1, 2):
        arguments = photographs, method, share, dtype, tmp_path / str(ranks)
        ended(started(differentiate, *arguments, processes=ranks))
    one, first, second = (torch.load(tmp_path / name) for name in ("1.0", "2.0", "2.1"))
    for what in one:
        if "running" in what:
            assert torch.equal(first[what], second[what]), what
            assert error(first[what], one[what]) < 1e-5, what
        else:
            assert error(first[what], one[what]) < bound, what


def step_with_infinity_on_rank_one(images: Path, file: Path) -> None:
    settings, place = settings_of(images, "vicreg", precision="float16"), find_place()
    with process_group(place):
        run = new_run(settings, place)
        for done, _ in enumerate(steps(run, settings, place, 5)):
            if done == 2 and place.rank == 1:
                weight = next(run.module.parameters())
                weight.register_hook(lambda gradient: gradient * torch.inf)
        weights = [p.detach().flatten() for p in run.module.parameters()]
    content = {"weights": torch.cat(weights).cpu(), "skipped": run.skipped}
    torch.save(content, file.with_name(f"{file.name}.{place.rank}"))


def test_02_an_infinity_of_one_rank_is_skipped_by_both(photographs: Path, tmp_path: Path) -> None:
    ended(started(step_with_infinity_on_rank_one, photographs, tmp_path / "r", processes=2))
    first, second = (torch.load(tmp_path / f"r.{rank}") for rank in range(2))
    assert first["skipped"] == second["skipped"] == 2
    assert torch.isfinite(first["weights"]).all()
    assert torch.equal(first["weights"], second["weights"])


def fail(how: str, images: Path, folder: Path) -> None:
    """Under torchrun: rank 1 fails in its third step."""

    def after_step(method: Method, done: int, steps: int) -> None:
        if done == 3 and dist.get_rank() == 1:
            if how == "error":
                raise E2MCError("the disk is gone")
            os.kill(os.getpid(), signal.SIGKILL)

    Method.after_step = after_step  # type: ignore[method-assign]
    train(settings_of(images, "simsiam"), folder)


@pytest.mark.parametrize("how", ["error", "kill"])
def test_03_a_rank_that_fails_ends_the_job(photographs: Path, tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [__file__, how, str(photographs), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode != 0
    assert ("e2mc: rank 1: the disk is gone" in done.stderr) == (how == "error"), done.stderr


def test_04_a_signal_to_one_stops_both_at_one_step(photographs: Path, tmp_path: Path) -> None:
    settings = settings_of(photographs, "swav", epochs=2)
    ended(started(stop_after, 3, settings, tmp_path, processes=2), status=75)
    assert [path.name for path in (tmp_path / "state").glob("*.pt")] == ["step-000000000003.pt"]
    ended(started(train, settings, tmp_path, processes=2))
    assert load_state(tmp_path / "model.safetensors")


def test_05_two_jobs_at_once(photographs: Path, tmp_path: Path) -> None:
    settings = settings_of(photographs, "simsiam", epochs=1)
    jobs = [started(train, settings, tmp_path / name, processes=2) for name in "ab"]
    for job in jobs:
        ended(job)
    first, second = (load_state(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.isfinite(value).all() for value in (*first.values(), *second.values()))


def speed(settings: TrainSettings, folder: Path, ranks: int) -> float:
    """Images per second of the last epoch."""
    ended(started(train, settings, folder, processes=ranks))
    header, *_, last = (folder / "history.csv").read_text().splitlines()
    row = dict(zip(header.split(","), last.split(","), strict=True))
    return float(row["images_per_second"])


def test_06_two_gpus_are_faster(photographs: Path, tmp_path: Path, say: list[str]) -> None:
    settings = settings_of(photographs, "simsiam", epochs=4, batch_size=24)
    views = settings.recipe.views.model_copy(update={"pipeline": "tensor"})
    changes: dict[str, Any] = {"recipe": settings.recipe.model_copy(update={"views": views})}
    if torch.cuda.is_available():
        paper = load_experiment(ROOT / "config/paper.yaml")
        changes |= {"backbone": paper.backbone, "images": paper.images}
    settings = settings.model_copy(update=changes)
    one, two = (speed(settings, tmp_path / str(ranks), ranks) for ranks in (1, 2))
    say.append(f"one rank {one:.0f} images/s, two {two:.0f}")
    assert two > 1.7 * one or not torch.cuda.is_available()


if __name__ == "__main__":
    fail(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
