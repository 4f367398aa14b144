"""The linear probe beside two plain loops: time, peak memory and accuracy in one run.

    python benchmarks/linear.py [--quick] [--epochs 100] [--rounds 1] [--output table.csv]

1 % of ImageNet: 12,811 x 2,048 float16 features, 1,000 classes, batches of 256, test top-1 after
every epoch on 1,000 images. The features are synthetic: ReLU of noisy class means, about as hard
to separate as a good trunk's. The ways:

- `online`: ResNet-50 forward on 224 pixels in every epoch, then the probe's step: the official
  scripts, without their decoding of images. A few batches are timed and extrapolated.
- `plain`: DataLoader over a TensorDataset of cached float32 features, nn.Linear, torch's SGD.
- `float32`, `bfloat16`: `e2mc.evaluation.probe.fit_heads`.
- `four heads`: four learning rates in one pass, bfloat16, time per head.
- `products`: the two bfloat16 matrix products of every step and nothing else, the bound on this
  processor for any loop in that precision.

Each way runs in a process of its own, one after the other; peak memory is the process's beyond
what it had after importing torch. Full run: four to eight minutes on two cores; quick: one. Where
other work comes and goes, `--epochs 3 --rounds 9` compares what ran within the same seconds: the
table shows medians over the rounds, of times and of ratios each within its round.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from e2mc.config.fits import LinearFit
from e2mc.config.methods import Backbone
from e2mc.evaluation.probe import Head, fit_heads
from e2mc.evaluation.results import write_csv

SAMPLES, TEST_SAMPLES, DIM, CLASSES, BATCH = 12_811, 1_000, 2_048, 1_000, 256
RATE, DECAY = 0.3, 1e-6
WAYS = ("online", "plain", "float32", "bfloat16", "four heads", "products")
Data = tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.float16], NDArray[np.int64]]
Outcome = tuple[float, float | None]
"""Seconds per epoch, test top-1 in per cent."""


def make_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(CLASSES, DIM)).astype(np.float32)
    for split, samples in (("train", SAMPLES), ("test", TEST_SAMPLES)):
        labels = rng.integers(CLASSES, size=samples)
        noise = rng.normal(scale=5.0, size=(samples, DIM)).astype(np.float32)
        features = np.maximum(means[labels] + noise, 0) / 5
        np.save(folder / f"{split}.npy", features.astype(np.float16))
        np.save(folder / f"{split}-labels.npy", labels)


def load(folder: Path) -> Data:
    train, train_y, test, test_y = (
        np.load(folder / f"{name}.npy", mmap_mode="r")
        for name in ("train", "train-labels", "test", "test-labels")
    )
    return train, np.array(train_y), test, np.array(test_y)


def probe(data: Data, epochs: int, rates: list[float], precision: str) -> Outcome:
    train, train_y, test, test_y = data
    heads = [
        Head(LinearFit(learning_rate=r, weight_decay=DECAY, epochs=epochs, batch_size=BATCH), 0)
        for r in rates
    ]
    start = time.perf_counter()
    fitted = fit_heads(
        lambda view: train, 1, train_y, test, test_y, CLASSES, heads, precision=precision
    )
    seconds = time.perf_counter() - start
    return seconds / epochs / len(heads), fitted[0].history[-1].top1


def plain(data: Data, epochs: int) -> Outcome:
    from torch.utils.data import DataLoader, TensorDataset

    train, train_y, test, test_y = data
    features = torch.from_numpy(np.array(train)).float()
    test_x = torch.from_numpy(np.array(test)).float()
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(features, torch.from_numpy(train_y)), BATCH, shuffle=True)
    head = torch.nn.Linear(DIM, CLASSES)
    torch.nn.init.normal_(head.weight, 0, 0.01)
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), RATE, momentum=0.9, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    start, top1 = time.perf_counter(), 0.0
    for _ in range(epochs):
        for x, y in loader:
            loss = torch.nn.functional.cross_entropy(head(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            top1 = 100 * float((head(test_x).argmax(1).numpy() == test_y).mean())
    return (time.perf_counter() - start) / epochs, top1


def online(data: Data, batches: int) -> Outcome:
    """Seconds for an epoch of the trunk alone, from a few batches of 64; the probe adds little."""
    from e2mc.models import build_backbone

    backbone = build_backbone(Backbone()).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(64, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        backbone(images[:8])
        start = time.perf_counter()
        for _ in range(batches):
            backbone(images)
    return (time.perf_counter() - start) / batches * SAMPLES / len(images), None


@torch.inference_mode()
def products(epochs: int) -> Outcome:
    """Seconds for an epoch's products of a batch with the weights and of the errors with it."""
    x, weight, error = (
        torch.randn(shape).bfloat16() for shape in ((BATCH, DIM), (CLASSES, DIM), (BATCH, CLASSES))
    )
    steps = epochs * SAMPLES // BATCH
    start = time.perf_counter()
    for _ in range(steps):
        x @ weight.T
        error.T @ x
    return (time.perf_counter() - start) / epochs, None


def measure(way: str, folder: Path, epochs: int) -> None:
    """Run one way in this process and print its outcome."""
    runs: dict[str, Callable[[Data], Outcome]] = {
        "online": lambda data: online(data, 2),
        "plain": lambda data: plain(data, epochs),
        "float32": lambda data: probe(data, epochs, [RATE], "float32"),
        "bfloat16": lambda data: probe(data, epochs, [RATE], "bfloat16"),
        "four heads": lambda data: probe(data, epochs, [RATE, 0.1, 0.03, 0.01], "bfloat16"),
        "products": lambda data: products(epochs),
    }
    before = peak_megabytes()
    seconds, top1 = runs[way](load(folder))
    peak = peak_megabytes() - before
    print(json.dumps({"way": way, "seconds": seconds, "top1": top1, "peak": peak}))


def peak_megabytes() -> float:
    """Largest resident memory so far; unlike ru_maxrss, not that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 epochs instead of 100")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rounds", type=int, default=1, help="repetitions of all ways in turn")
    parser.add_argument("--output", type=Path, help="also write the table as CSV")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    epochs = arguments.epochs or (3 if arguments.quick else 100)
    if arguments.way:
        measure(arguments.way, arguments.folder, epochs)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        online_once = [WAYS] + [WAYS[1:]] * (arguments.rounds - 1)
        rounds = [{way: run_alone(way, folder, epochs) for way in ways} for ways in online_once]
    report(rounds, epochs, arguments.output)


def run_alone(way: str, folder: str, epochs: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, "--folder", folder]
    done = subprocess.run(
        [*command, "--epochs", str(epochs)], capture_output=True, text=True, check=True
    )
    outcome: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def report(rounds: list[dict[str, dict[str, float]]], epochs: int, output: Path | None) -> None:
    header = ("way", "seconds per epoch", "100 epochs (s)", "times plain", "peak MB", "top-1 (%)")
    rows = []
    for way, first in rounds[0].items():
        among = [found for found in rounds if way in found]
        seconds = median(found[way]["seconds"] for found in among)
        rows.append(
            (
                way,
                f"{seconds:.3f}",
                f"{100 * seconds:.0f}",
                f"{ratio(among, 'plain', way):.3g}",
                f"{max(found[way]['peak'] for found in among):.0f}",
                "-" if first["top1"] is None else f"{first['top1']:.2f}",
            )
        )
    for row in (header, *rows):
        print("".join(f"{cell:>18}" for cell in row))
    print(f"{epochs} epochs run {len(rounds)} times; `online` is extrapolated from 128 images.")
    print(f"bfloat16 is {ratio(rounds, 'plain', 'bfloat16'):.2f} times as fast as plain")
    print(f"and {ratio(rounds[:1], 'online', 'bfloat16'):.0f} times as fast as the online loop.")
    if output:
        write_csv(output, header, rows)


def ratio(rounds: list[dict[str, dict[str, float]]], slow: str, fast: str) -> float:
    """How many times as fast, the median over the rounds."""
    return median(found[slow]["seconds"] / found[fast]["seconds"] for found in rounds)


if __name__ == "__main__":
    main()
