"""E2MC beside Algorithm 1 as printed, and beside its rivals: time and peak memory of
forward plus backward.

    python benchmarks/criteria.py [--quick] [--device cuda] [--resnet50 256] [--output table.csv]
    python benchmarks/criteria.py --rivals

Both implementations take turns on the same two views, their losses must agree, and the fastest
step of each counts, so that other work on the machine disturbs the ratio little. Peak memory is
measured in a process of its own per implementation and size. Full run: some three minutes on two
cores, Linux only.
"""

import argparse
import csv
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from e2mc.criteria import E2MC, KoLeo, RadialVCReg, SIGReg, Uniformity, VCReg, VISReg

SIZES = [(512, 128), (512, 2048), (512, 8192), (1024, 8192)]
CURVES = [(n, 1024) for n in (64, 256, 1024, 4096)] + [(512, d) for d in (64, 512, 1024, 4096)]
ENTROPY_WEIGHT, COVARIANCE_WEIGHT = 1000.0, 100.0


def algorithm_1(views: list[Tensor]) -> Tensor:
    """The paper's pseudo-code, line by line, with the sigmoid."""
    loss = torch.zeros((), device=views[0].device)
    for z in views:
        x = torch.sigmoid(z)
        n, d = x.shape
        m = round(math.sqrt(n))
        ordered, _ = torch.sort(x, dim=0)
        spacings = (ordered[m:] - ordered[: n - m]) * (n + 1) / m
        entropy = (torch.log(spacings + 1e-7).sum(dim=0) / (n - m)).mean()
        centred = x - x.mean(dim=0)
        covariance = (centred.T @ centred) / (n - 1)
        off_diagonal = covariance.flatten()[:-1].view(d - 1, d + 1)[:, 1:].flatten()
        penalty = off_diagonal.pow(2).sum() / d
        loss = loss - ENTROPY_WEIGHT * entropy + COVARIANCE_WEIGHT * penalty
    return loss


IMPLEMENTATIONS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "algorithm-1": algorithm_1,
    "e2mc": E2MC("hypercube", ENTROPY_WEIGHT, COVARIANCE_WEIGHT, entropy_over_views="sum"),
}

RIVALS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "e2mc": IMPLEMENTATIONS["e2mc"],
    "vcreg": VCReg(),
    "auh": Uniformity(),
    "koleo": KoLeo(),
    "radial": RadialVCReg(),
    "sigreg": SIGReg(),
    "visreg": VISReg(),
}


def make_step(
    criterion: Callable[[list[Tensor]], Tensor], n: int, d: int, device: str
) -> Callable[[], float]:
    torch.manual_seed(0)
    views = [torch.randn(n, d, device=device, requires_grad=True) for _ in range(2)]

    def step() -> float:
        for view in views:
            view.grad = None
        loss = criterion(views)
        torch.autograd.backward(loss)
        return float(loss.item())

    return step


def fastest(
    steps: list[Callable[[], float]],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Milliseconds of the fastest call of each step, taking turns. A step ends in `item()`,
    which waits for the device."""
    best = [math.inf] * len(steps)
    for step in steps:
        step()
    deadline = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < deadline:
        for index, step in enumerate(steps):
            start = clock()
            step()
            best[index] = min(best[index], 1000 * (clock() - start))
        rounds += 1
    return best


def measure_memory(name: str, n: int, d: int, device: str) -> float:
    """Megabytes at the peak of a few steps, above the views; run in a process of its own."""

    def peak() -> int:
        if device == "cuda":
            return torch.cuda.max_memory_allocated()
        status = Path("/proc/self/status").read_text()  # getrusage would count the parent's peak
        return 1024 * int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1])

    criterion = {**IMPLEMENTATIONS, **RIVALS}[name]
    make_step(criterion, 8, 8, device)()
    step = make_step(criterion, n, d, device)
    before = peak()
    for _ in range(3):
        step()
    return (peak() - before) / 1e6


def memory_in_a_fresh_process(name: str, n: int, d: int, device: str) -> float:
    command = [sys.executable, __file__, "--memory", name, str(n), str(d), "--device", device]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def compare(n: int, d: int, device: str, seconds: float) -> dict[str, float]:
    steps = [make_step(criterion, n, d, device) for criterion in IMPLEMENTATIONS.values()]
    losses = [step() for step in steps]
    if not math.isclose(*losses, rel_tol=1e-4):
        raise SystemExit(f"({n}, {d}): the losses differ: {losses}")
    plain, ours = fastest(steps, seconds)
    plain_mb, ours_mb = (memory_in_a_fresh_process(name, n, d, device) for name in IMPLEMENTATIONS)
    return {
        "n": n,
        "d": d,
        "algorithm_1_ms": plain,
        "e2mc_ms": ours,
        "times_faster": plain / ours,
        "algorithm_1_mb": plain_mb,
        "e2mc_mb": ours_mb,
        "times_smaller": plain_mb / max(ours_mb, 0.1),
    }


def print_rows(
    title: str, sizes: list[tuple[int, int]], device: str, seconds: float
) -> list[dict[str, float]]:
    print(f"\n{title}\n{'n':>6}{'d':>6}{'Algorithm 1':>20}{'E2MC':>20}{'faster':>9}{'smaller':>9}")
    rows = []
    for n, d in sizes:
        row = compare(n, d, device, seconds)
        plain, ours = (
            f"{row[f'{name}_ms']:.1f} ms {row[f'{name}_mb']:5.0f} MB"
            for name in ("algorithm_1", "e2mc")
        )
        faster, smaller = row["times_faster"], row["times_smaller"]
        print(f"{n:6}{d:6}{plain:>20}{ours:>20}{faster:8.1f}x{smaller:8.1f}x", flush=True)
        rows.append(row)
    return rows


def print_rivals(device: str, seconds: float) -> None:
    """Every criterion with its default parameters at every size.

    On a CPU processor time of one thread, which other work on the machine disturbs least.
    """
    torch.set_num_threads(1)
    clock = time.process_time if device == "cpu" else time.perf_counter
    print(f"\n{'n':>6}{'d':>6}" + "".join(f"{name:>20}" for name in RIVALS))
    for n, d in SIZES:
        times = fastest([make_step(c, n, d, device) for c in RIVALS.values()], seconds, clock)
        cells = [
            f"{time_:.1f} ms {memory_in_a_fresh_process(name, n, d, device):5.0f} MB"
            for name, time_ in zip(RIVALS, times, strict=True)
        ]
        print(f"{n:6}{d:6}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def measure_resnet50(batch: int, device: str) -> float:
    """Milliseconds of forward plus backward of a ResNet-50 on two views of a batch, bfloat16."""
    from e2mc.vision import torchvision

    network: nn.Module = torchvision.models.resnet50().to(device, memory_format=torch.channels_last)
    images = torch.randn(2 * batch, 3, 224, 224, device=device)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> float:
        network.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = network(images).float().square().mean()
        torch.autograd.backward(loss)
        return float(loss.item())

    return fastest([step], seconds=5.0)[0]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the two small sizes only")
    parser.add_argument("--rivals", action="store_true", help="E2MC beside the other criteria")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resnet50", type=int, metavar="BATCH", help="step time to compare with")
    parser.add_argument("--output", type=Path, help="write the table as CSV")
    parser.add_argument("--seconds", type=float, default=3.0, help="time spent per size")
    parser.add_argument("--memory", nargs=3, metavar=("NAME", "N", "D"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    device, seconds = arguments.device, arguments.seconds
    if arguments.memory:
        name, n, d = arguments.memory
        print(measure_memory(name, int(n), int(d), device))
        return
    machine = f"{torch.get_num_threads()} threads" if device == "cpu" else device
    if device == "cuda":
        machine = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {machine}; two views, forward and backward, float32")
    if arguments.rivals:
        print_rivals(device, seconds)
        return
    rows = print_rows("Sizes", SIZES[:2] if arguments.quick else SIZES, device, seconds)
    if arguments.resnet50:
        step = measure_resnet50(arguments.resnet50, device)
        print(f"\nResNet-50, two views of {arguments.resnet50} images: {step:.0f} ms a step")
        for row in rows:
            share = 100 * row["e2mc_ms"] / step
            print(f"  E2MC at ({row['n']}, {row['d']}) adds {share:.2f} %")
    if not arguments.quick:
        rows += print_rows("Cost against n and d", CURVES, device, seconds / 3)
    if arguments.output:
        with arguments.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
