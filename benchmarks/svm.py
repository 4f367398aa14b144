"""VOC07's SVM protocol at full size: ours beside VISSL's plain loop, on synthetic features.

python benchmarks/svm.py            # 20 classes x 23 costs x 3 folds on 5,011 x 2,048
python benchmarks/svm.py --quick    # 2 classes; the time of 20 by proportion
"""

import argparse
import resource
import time

import numpy as np
import psutil
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from e2mc.evaluation.svm import svm_average_precision

CLASSES = 20
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


def vissl_loop(x: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[list[float], float]:
    """Cross-validated average precision of one class, one fit after the other, as VISSL scores."""
    unit = x.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True) + 1e-5
    start = time.perf_counter()
    path = []
    for cost in COSTS:
        model = LinearSVC(
            C=cost, class_weight={1: 2, -1: 1}, dual=True, max_iter=2000, random_state=0
        )
        path.append(cross_val_score(model, unit, y, cv=3, scoring="average_precision").mean())
        model.fit(unit, y)
    return path, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 classes instead of 20")
    classes = 2 if parser.parse_args().quick else CLASSES
    features, labels = synthetic(classes)
    split = (features[:5011], labels[:5011], features[5011:], labels[5011:])
    start = time.perf_counter()
    result = svm_average_precision(*split, COSTS)
    seconds = (time.perf_counter() - start) * CLASSES / classes
    path, one_class = vissl_loop(features[:5011], labels[:5011, 0])
    workers = sum(child.memory_info().rss for child in psutil.Process().children(recursive=True))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    difference = np.abs(np.array(path) - result.cross_validation[0]).max()
    scaled = "" if classes == CLASSES else f" (by proportion from {classes})"
    print(f"ours, {CLASSES} classes{scaled}: {seconds / 60:.1f} min")
    print(f"VISSL's loop (by proportion from 1): {one_class * CLASSES / 60:.1f} min")
    print(f"ratio {one_class * CLASSES / seconds:.1f}")
    print(f"largest difference of cross-validated AP: {difference:.1e}")
    print(
        f"memory: {largest / 2**30:.1f} GiB, and {workers / 2**30:.1f} GiB in the worker processes"
    )
    print(f"fits stopped at 2,000 iterations: {result.unconverged}")


if __name__ == "__main__":
    main()
