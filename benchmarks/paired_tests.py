"""Paired tests at 50,000 images and at ten million: ours beside scipy's and a plain loop.

python benchmarks/paired_tests.py            # scipy takes most of a minute
python benchmarks/paired_tests.py --quick    # scipy on a tenth of the resamples
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from e2mc.statistics import compare_paired, compare_scores


def timed(name: str, call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    value = call()
    seconds = time.perf_counter() - start
    print(f"{name:62s} {seconds:10.4f} s")
    return value, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer resamples for scipy")
    resamples = 999 if parser.parse_args().quick else 9999
    rng = np.random.default_rng(0)
    base = rng.random(50_000) < 0.6
    flipped = rng.random(50_000) < 0.05
    model = np.where(flipped, rng.random(50_000) < 0.63, base)
    difference = model.astype(np.float64) - base

    ours, fast = timed("compare_paired, 50,000 images (exact)", lambda: compare_paired(base, model))
    scipys, slow = timed(
        f"scipy.stats.permutation_test, {resamples} resamples",
        lambda: (
            stats.permutation_test(
                (difference,),
                lambda x, axis: x.mean(axis=axis),
                permutation_type="samples",
                n_resamples=resamples,
                batch=100,
                vectorized=True,
                rng=0,
            ).pvalue
        ),
    )
    print(f"p {ours.permutation_pvalue:.4f} and {scipys:.4f}; ratio {slow / fast:,.0f}\n")

    huge = rng.random((2, 10_000_000)) < 0.7
    timed("compare_paired, 10,000,000 images (exact)", lambda: compare_paired(*huge))
    for size in (20, 1000, 10_000):
        pair = rng.random((2, size))
        timed(
            f"compare_scores, {size:,} pairs, 9999 resamples and BCa",
            lambda p=pair: compare_scores(*p),
        )


if __name__ == "__main__":
    main()
