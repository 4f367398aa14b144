"""Figure 3's neighbour distances at full size: ours beside scikit-learn's brute force.

python benchmarks/neighbours.py            # 50,000 x 8,192: about five minutes on two cores
python benchmarks/neighbours.py --quick    # 5,000 x 8,192

Exact distances to the 1st and 100th neighbour on a float16 memory map. scikit-learn searches for
200 samples, on float64 features in memory; its time is scaled to all. Peak memory is the
process's, torch, the memory map and everything else included.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

from e2mc.evaluation.neighbours import neighbour_distances

DIM, RANKS, CHECKED = 8_192, (1, 100), 200


def make_features(path: Path, samples: int) -> None:
    """Non-negative features around a thousand centres, like the pooled maps of a trained trunk."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1_000, DIM)).astype(np.float32)
    features = np.lib.format.open_memmap(path, "w+", np.float16, (samples, DIM))
    for start in range(0, samples, 1_000):
        block = features[start : start + 1_000]
        noise = rng.standard_normal(size=block.shape, dtype=np.float32)
        block[:] = np.maximum(centres[rng.integers(1_000, size=len(block))] + noise, 0)
    features.flush()


def peak_gigabytes() -> float:
    """Largest resident memory so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 samples")
    samples = 5_000 if parser.parse_args().quick else 50_000
    with tempfile.TemporaryDirectory() as folder:
        make_features(Path(folder) / "features.npy", samples)
        features = np.load(Path(folder) / "features.npy", mmap_mode="r")
        start = time.perf_counter()
        distances = neighbour_distances(features, RANKS)
        seconds, peak = time.perf_counter() - start, peak_gigabytes()
        print(f"ours, {samples:,} x {DIM:,}: {seconds:.0f} s, peak memory {peak:.2f} GiB")

        search = NearestNeighbors(n_neighbors=max(RANKS) + 1, algorithm="brute")
        search.fit(features.astype(np.float64))
        start = time.perf_counter()
        found, _ = search.kneighbors(features[:CHECKED].astype(np.float64))
        plain = (time.perf_counter() - start) * samples / CHECKED
    difference = np.abs(found[:, list(RANKS)] - distances[:CHECKED]).max()
    print(f"scikit-learn (by proportion from {CHECKED}): {plain:.0f} s, {peak_gigabytes():.2f} GiB")
    print(f"ratio {plain / seconds:.1f}")
    print(f"largest difference of a distance, {CHECKED} samples: {difference:.1e}")


if __name__ == "__main__":
    main()
