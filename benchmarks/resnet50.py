"""Some steps of each method's true recipe with E2MC at the true architecture: time and memory.

    python benchmarks/resnet50.py [FOLDER] [--batch 16] [--steps 3] [--device cuda] [--csv FILE]

ResNet-50, heads, crops, optimizer, precision and criterion are those of config/paper.yaml, the
steps those of the training loop; only the weights are random and the batch is small. Every method
runs in a process of its own; the fastest step counts, after one that is not counted. On a CPU there
is one thread, and processor time counts, so that other work on the machine disturbs little.
FOLDER holds photographs; without it, images of ImageNet's size are drawn. Two minutes of one core.
FILE, one per machine under benchmarks/results, keeps the table: rows are added.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F
from views import drawn, listed

from e2mc.config import load_experiment, stages
from e2mc.config.settings import TrainSettings
from e2mc.criteria import CRITERIA, Criterion
from e2mc.data.views import TrainingViews
from e2mc.methods import Step
from e2mc.training.distributed import Place
from e2mc.training.optim import set_learning_rate
from e2mc.training.run import Run, build_run
from e2mc.training.step import autocast, loss_of, update

PAPER = Path(__file__).parents[1] / "config/paper.yaml"
BASES = {"vicreg": "vicreg-1000", "swav": "swav-800", "simsiam": "simsiam-100"}
FULL_BATCH = 512


class Seconds(NamedTuple):
    """One step, part by part."""

    data: float
    forward: float
    criterion: float
    backward: float
    optimizer: float


class Clock:
    """A stop watch."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.since = device, 0.0

    def __call__(self) -> float:
        """Seconds since the last call, the device's pending work included."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            now = time.perf_counter()
        else:
            now = time.process_time()
        before, self.since = self.since, now
        return now - before


def settings_of(method: str, batch: int) -> TrainSettings:
    settings = stages.pretrain_settings(load_experiment(PAPER), BASES[method], "e2mc", trial=0)
    training = settings.training.model_copy(update={"batch_size": batch})
    return settings.model_copy(update={"training": training})


def batches(settings: TrainSettings, folder: Path, device: torch.device) -> Iterator[list[Tensor]]:
    """Epoch after epoch, as the loop takes them."""
    data = TrainingViews(
        listed(folder, sys.maxsize),
        settings.recipe.views,
        settings.images,
        settings.training.batch_size,
        settings.seed,
        0,
        device,
        drop_last=True,
    )
    steps = chain.from_iterable(data.epoch(epoch) for epoch in count())
    for views, _ in steps:
        yield [view.contiguous(memory_format=torch.channels_last) for view in views]


def fill_queue(run: Run) -> None:
    """SwAV's queue joins Sinkhorn when it is full, at batch 512 after seven steps."""
    queue = getattr(run.module, "queue", None)
    if queue is not None:
        queue.copy_(F.normalize(torch.randn_like(queue), dim=-1))


def measure(method: str, folder: Path, batch: int, steps: int, device: torch.device) -> Seconds:
    """The fastest step."""
    settings = settings_of(method, batch)
    run = build_run(settings, None, Place(0, 1, 0))
    fill_queue(run)
    set_learning_rate(run.optimizer, settings.training.learning_rate)
    precision, clock = autocast(settings.training.precision, device), Clock(device)
    views_of, optimizer_step = batches(settings, folder, device), run.optimizer.step
    laps: dict[str, float] = {}

    def network(views: list[Tensor]) -> Step:
        made: Step = run.module(views)
        laps["forward"] = clock()
        return made

    def step_optimizer(*arguments: object) -> None:
        laps["backward"] = clock()
        optimizer_step()
        laps["optimizer"] = clock()

    run.optimizer.step = step_optimizer
    found: list[Seconds] = []
    while len(found) <= steps:
        laps.clear()
        clock()
        views = next(views_of)
        laps["data"] = clock()
        loss, _ = loss_of(run, network, views, precision, Path("nowhere"))
        laps["criterion"] = clock()
        update(run, loss)
        if "optimizer" in laps:  # else the gradient overflowed and the step was left out
            found.append(Seconds(**laps))
    return min(found[1:], key=sum)


def measure_criterion(criterion: Criterion, d: int, device: torch.device) -> float:
    """Seconds of forward and backward on two views of 512 embeddings, fastest of ten."""
    torch.manual_seed(0)
    views = [torch.randn(FULL_BATCH, d, device=device, requires_grad=True) for _ in range(2)]
    clock, best = Clock(device), math.inf
    for _ in range(11):
        clock()
        torch.autograd.backward(criterion(views))
        best = min(best, clock())
    return best


def peak_megabytes(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1]) / 1e3


def report(method: str, folder: Path, batch: int, steps: int, device: torch.device) -> None:
    """Print everything about one method as JSON; run in a process of its own."""
    if device.type == "cpu":
        torch.set_num_threads(1)
    settings = settings_of(method, batch)
    seconds = measure(method, folder, batch, steps, device)
    megabytes = peak_megabytes(device)
    assert settings.criterion is not None
    parameters = settings.criterion.model_dump(exclude={"kind"})
    criterion = CRITERIA[settings.criterion.kind](**parameters).to(device)
    projector = settings.recipe.projector
    d = projector if isinstance(projector, int) else projector[-1]
    content = {
        "seconds": seconds._asdict(),
        "megabytes": megabytes,
        "d": d,
        "criterion_seconds": measure_criterion(criterion, d, device),
    }
    print(json.dumps(content))


def in_a_fresh_process(
    method: str, arguments: argparse.Namespace, folder: Path
) -> dict[str, float]:
    command = [sys.executable, __file__, str(folder), "--method", method]
    for option in ("batch", "steps", "device"):
        command += [f"--{option}", str(getattr(arguments, option))]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if arguments.device == "cpu" else {}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **hidden}
    )
    content: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return content


def keep(file: Path, arguments: argparse.Namespace, found: dict[str, dict[str, Any]]) -> None:
    """Add a row for each method; `data_share` is of a loader without processes of its own."""
    rows = []
    for method, content in found.items():
        seconds = Seconds(**content["seconds"])
        rows.append(
            {
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
                "device": device_name(arguments.device),
                "torch": torch.__version__,
                "method": method,
                "precision": precision_of(method, arguments),
                "batch": arguments.batch,
                "images_per_second": f"{arguments.batch / sum(seconds):.1f}",
                "data_share": f"{seconds.data / sum(seconds):.2f}",
                "peak_megabytes": f"{content['megabytes']:.0f}",
            }
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def precision_of(method: str, arguments: argparse.Namespace) -> str:
    """As the loop runs it: a CPU has no float16."""
    precision = settings_of(method, arguments.batch).training.precision
    return "bfloat16" if arguments.device == "cpu" and precision == "float16" else precision


def device_name(device: str) -> str:
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    return f"one of {psutil.cpu_count()} CPUs ({torch.backends.cpu.get_cpu_capability()})"


def run_all(arguments: argparse.Namespace, folder: Path) -> None:
    batch = arguments.batch
    print(f"{'':10}{'memory':>10}{'step':>10}" + "".join(f"{part:>12}" for part in Seconds._fields))
    found = {}
    for method in BASES:
        found[method] = content = in_a_fresh_process(method, arguments, folder)
        seconds = Seconds(**content["seconds"])
        parts = "".join(f"{1000 * part:9.0f} ms" for part in seconds)
        print(f"{method:10}{content['megabytes']:7.0f} MB{sum(seconds):8.2f} s{parts}", flush=True)
    print(
        f"\nAt batch {FULL_BATCH}: the criterion as measured there, beside forward and backward "
        f"times {FULL_BATCH}/{batch} and the optimizer once"
    )
    for method, content in found.items():
        seconds = Seconds(**content["seconds"])
        scaled = (seconds.forward + seconds.backward) * FULL_BATCH / batch + seconds.optimizer
        own = content["criterion_seconds"]
        print(
            f"{method:10}({FULL_BATCH}, {content['d']}): {1000 * own:7.1f} ms of "
            f"{scaled + own:7.2f} s, {100 * own / (scaled + own):.2g} %"
        )
    if arguments.csv is not None:
        keep(arguments.csv, arguments, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="folder of photographs")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3, help="counted steps")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--csv", type=Path, help="file to which the table is added")
    parser.add_argument("--method", choices=list(BASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.method:
        report(arguments.method, arguments.folder, arguments.batch, arguments.steps, device)
        return
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    print(
        f"torch {torch.__version__}, {machine}; ResNet-50 with random weights and E2MC, batch "
        f"{arguments.batch}, fastest of {arguments.steps} steps"
    )
    with tempfile.TemporaryDirectory() as drawings:
        folder = arguments.folder
        if folder is None:
            print("no folder of photographs: images of their size are drawn")
            folder = Path(drawings)
            drawn(folder, 4 * arguments.batch, (500, 375))
        run_all(arguments, folder)


if __name__ == "__main__":
    main()
