"""VOC07's SVM protocol at full size: ours beside VISSL's plain loop, on synthetic features.

python benchmarks/svm.py            # 20 classes x 23 costs x 3 folds on 5,011 x 2,048
python benchmarks/svm.py --quick    # 2 classes; the time of 20 by proportion
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from e2mc.evaluation.svm import svm_average_precision
from e2mc.statistics.average_precision import voc_average_precision

CLASSES, CHECKED = 20, 2
COSTS = (
    *(1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3),
    *(1, 2, 5, 10, 15, 20, 50, 100, 200, 500, 1000),
)


def synthetic(classes: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """VOC07-sized trainval and test features, non-negative like pooled ReLU maps, and labels."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(5011 + 4952, 64))
    features = np.maximum(
        latent @ rng.normal(size=(64, 2048)) / 8 + rng.normal(size=(len(latent), 2048)), 0
    )
    evidence = latent @ rng.normal(size=(64, classes)) / 8 + 0.3 * rng.normal(
        size=(len(latent), classes)
    )
    present = evidence > np.quantile(evidence, 0.92, axis=0)
    return features.astype(np.float32), np.where(present, 1, -1)


def vissl_loop(
    x: NDArray[np.float64], y: NDArray[np.int64], test_x: NDArray[np.float64]
) -> tuple[list[float], NDArray[np.float64]]:
    """Cross-validated AP at every cost, and test scores at the best, one fit after the other."""
    path, scores = [], []
    for cost in COSTS:
        model = LinearSVC(
            C=cost, class_weight={1: 2, -1: 1}, dual=True, max_iter=2000, random_state=0
        )
        path.append(cross_val_score(model, x, y, cv=3, scoring="average_precision").mean())
        scores.append(model.fit(x, y).decision_function(test_x))
    return path, scores[int(np.argmax(path))]


def peak_gigabytes(process: int) -> float:
    """Largest resident memory so far; unlike ru_maxrss, not that of the parent."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 classes instead of 20")
    classes = 2 if parser.parse_args().quick else CLASSES
    features, labels = synthetic(classes)
    split = (features[:5011], labels[:5011], features[5011:], labels[5011:])
    start = time.perf_counter()
    result = svm_average_precision(*split, COSTS)
    seconds = (time.perf_counter() - start) * CLASSES / classes
    workers = [peak_gigabytes(child.pid) for child in psutil.Process().children(recursive=True)]
    own = peak_gigabytes(os.getpid())

    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True) + 1e-5
    validation, precision = [], []
    start = time.perf_counter()
    for at in range(CHECKED):
        path, scores = vissl_loop(unit[:5011], labels[:5011, at], unit[5011:])
        validation.append(np.abs(path - result.cross_validation[at]).max())
        precision.append(voc_average_precision(labels[5011:, at], scores))
    plain = (time.perf_counter() - start) * CLASSES / CHECKED

    scaled = "" if classes == CLASSES else f" (by proportion from {classes})"
    print(f"ours, {CLASSES} classes{scaled}: {seconds / 60:.1f} min")
    print(f"VISSL's loop (by proportion from {CHECKED}): {plain / 60:.1f} min")
    print(f"ratio {plain / seconds:.1f}")
    print(f"largest difference of cross-validated AP, {CHECKED} classes: {max(validation):.1e}")
    ours = result.average_precision[:CHECKED]
    print("test AP:", *(f"{a:.6f} = {b:.6f}" for a, b in zip(ours, precision, strict=True)))
    print(f"peak memory: {own:.2f} GiB; worker processes {', '.join(f'{w:.2f}' for w in workers)}")
    print(f"fits stopped at 2,000 iterations: {result.unconverged}")


if __name__ == "__main__":
    main()
