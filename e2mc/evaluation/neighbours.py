"""Nearest neighbours, exact and blockwise: top-1 by vote, and distances between embeddings."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from e2mc.errors import E2MCError

DEFAULT_MEMORY = 512 * 2**20
"""Bytes of temporary blocks, beside the inputs, which may be memory-mapped."""


class NeighbourVotes(NamedTuple):
    """Top-1 accuracy (a fraction) and predictions of shape (test samples,), for each k."""

    top1: dict[int, float]
    predictions: dict[int, NDArray[np.int64]]


def knn_top1(
    train_x: ArrayLike,
    train_y: ArrayLike,
    test_x: ArrayLike,
    test_y: ArrayLike,
    ks: Sequence[int] = (20, 200),
    temperature: float = 0.07,
    *,
    memory: int = DEFAULT_MEMORY,
    device: str = "cpu",
) -> NeighbourVotes:
    """Classify by the k most similar training samples, each voting exp(cosine / temperature).

    The weighted vote of Wu et al. (2018, section 3.4), with the temperature and the k of DINO's
    ``eval_knn.py``. Every training sample is compared: no index, no approximation. Cosines are
    float32 (float64 if the training features are), votes float64; of equal votes the smallest
    label wins. Deviation from the usual scripts: a k beyond the number of training samples is an
    error, not silently reduced.

    Args:
        train_x: features of any float type, shape (n, dim); a memory map is read in blocks.
        train_y: integer labels >= 0, shape (n,).
        test_x: features, shape (m, dim).
        test_y: integer labels >= 0, shape (m,).
        ks: numbers of neighbours.
        temperature: positive scale of the cosines in the vote.
        memory: bytes for temporary blocks.
        device: torch device that does the arithmetic.

    Raises:
        E2MCError: if shapes do not fit, a feature is not finite or a vector is zero, a label is
            negative, or a k is impossible.
    """
    train, test = _matrix(train_x, "train_x"), _matrix(test_x, "test_x")
    train_labels, test_labels = _labels(train_y, train, "train_y"), _labels(test_y, test, "test_y")
    if train.shape[1] != test.shape[1]:
        raise E2MCError(f"train_x has {train.shape[1]} dimensions and test_x {test.shape[1]}")
    if not ks or min(ks) < 1 or max(ks) > len(train):
        raise E2MCError(f"k must be between 1 and {len(train)} training samples, got {list(ks)}")
    if not temperature > 0:
        raise E2MCError(f"temperature must be positive, got {temperature}")
    dtype = torch.float64 if train.dtype == np.float64 else torch.float32
    rows = _block_rows(memory, train.shape[1], dtype)
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    votes_for = torch.from_numpy(train_labels).to(device)
    predictions: dict[int, list[Tensor]] = {k: [] for k in ks}
    for _, queries in _blocks(test, rows, dtype, device):
        cosines, neighbours = _most_similar(_unit(queries), train, max(ks), rows, dtype)
        weights = torch.exp((cosines.double() - 1) / temperature)
        for k in ks:
            votes = torch.zeros(len(queries), classes, dtype=torch.float64, device=device)
            votes.scatter_add_(1, votes_for[neighbours[:, :k]], weights[:, :k])
            predictions[k].append(votes.argmax(dim=1).cpu())
    predicted = {k: torch.cat(parts).numpy() for k, parts in predictions.items()}
    top1 = {k: float(np.mean(labels == test_labels)) for k, labels in predicted.items()}
    return NeighbourVotes(top1, predicted)


def neighbour_distances(
    x: ArrayLike,
    ranks: Sequence[int] = (1, 100),
    *,
    memory: int = DEFAULT_MEMORY,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Euclidean distance of every sample to its r-th nearest other sample (Figure 3).

    Blocks are float64 whatever the input: |a|^2 + |b|^2 - 2ab cancels for near-duplicates, which
    in float32 would blur distances below 3e-4 of a vector's norm and in float64 only below 1e-8.
    The neighbour of each rank is found so, and its distance then taken from the difference of
    the two vectors: duplicates are at distance exactly 0.

    Args:
        x: shape (n, dim), any float type; a memory map is read in blocks.
        ranks: ranks of neighbours, 1 the nearest; the sample itself is not counted.
        memory: bytes for temporary blocks. 50,000 x 8,192 samples in a float16 memory map (0.8 GB)
            need less than 2 GB with the default.
        device: torch device that does the arithmetic.

    Returns:
        Distances, shape (n, ranks).

    Raises:
        E2MCError: if `x` is not a matrix of finite numbers or has too few rows for a rank.
    """
    samples = _matrix(x, "x")
    if not ranks or min(ranks) < 1 or max(ranks) >= len(samples):
        raise E2MCError(
            f"{len(samples)} samples have neighbours of ranks 1 to {len(samples) - 1}, "
            f"got {list(ranks)}"
        )
    rows = _block_rows(memory, samples.shape[1], torch.float64)
    neighbours = _nearest(samples, max(ranks), rows, device)[:, [rank - 1 for rank in ranks]]
    return np.concatenate(
        [
            _exact_distances(block, samples, neighbours[start : start + rows])
            for start, block in _blocks(samples, rows, torch.float64, "cpu")
        ]
    )


def _most_similar(
    queries: Tensor, train: NDArray[np.floating[Any]], k: int, rows: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and row numbers of the k most similar training samples, best first."""
    best = queries.new_empty(len(queries), 0)
    index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start, block in _blocks(train, rows, dtype, str(queries.device)):
        best, index = _keep_largest(best, index, queries @ _unit(block).T, start, k)
    return best, index


def _nearest(
    samples: NDArray[np.floating[Any]], k: int, rows: int, device: str
) -> NDArray[np.int64]:
    """Row numbers of the k nearest other samples of each sample, shape (n, k).

    Each pair of blocks is multiplied once and serves the rows of both.
    """
    best = torch.full((len(samples), k), -torch.inf, dtype=torch.float64, device=device)
    index = torch.zeros(len(samples), k, dtype=torch.int64, device=device)

    def merge(into: int, closeness: Tensor, start: int) -> None:
        own = slice(into, into + len(closeness))
        best[own], index[own] = _keep_largest(best[own], index[own], closeness, start, k)

    for start, block in _blocks(samples, rows, torch.float64, device):
        half_norms = _half_squared_norms(block)
        for other, candidates in _blocks(samples, rows, torch.float64, device, first=start):
            products = block @ candidates.T
            # Half the squared distance, negated, but for the norm that a whole row shares.
            if other == start:
                merge(start, (products - half_norms).fill_diagonal_(-torch.inf), start)
            else:
                merge(start, products - _half_squared_norms(candidates), other)
                merge(other, (products - half_norms[:, None]).T, start)
    return index.cpu().numpy()


def _half_squared_norms(block: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(block, dim=1)
    return norms.square().div(2)


def _keep_largest(
    best: Tensor, index: Tensor, values: Tensor, start: int, k: int
) -> tuple[Tensor, Tensor]:
    """Merge a block of values, whose first column is number `start`, into the k largest so far."""
    top, position = values.topk(min(k, values.shape[1]), dim=1)
    merged = torch.cat([best, top], dim=1)
    kept, order = merged.topk(min(k, merged.shape[1]), dim=1)
    return kept, torch.cat([index, position + start], dim=1).gather(1, order)


def _exact_distances(
    block: Tensor, samples: NDArray[np.floating[Any]], neighbours: NDArray[np.int64]
) -> NDArray[np.float64]:
    distances = np.empty(neighbours.shape)
    own = block.cpu().numpy()
    for row, others in enumerate(neighbours):
        distances[row] = np.linalg.norm(samples[others].astype(np.float64) - own[row], axis=1)
    return distances


def _block_rows(memory: int, dim: int, dtype: torch.dtype) -> int:
    """Rows r such that three blocks of (r, dim) and three of (r, r) fit into `memory`."""
    rows = int((dim**2 + 4 * memory / (3 * dtype.itemsize)) ** 0.5 - dim) // 2
    if rows < 1:
        raise E2MCError(f"{memory} bytes are too few for blocks of {dim} dimensions")
    return rows


def _blocks(
    x: NDArray[np.floating[Any]], rows: int, dtype: torch.dtype, device: str, first: int = 0
) -> Iterator[tuple[int, Tensor]]:
    for start in range(first, len(x), rows):
        block = torch.from_numpy(np.array(x[start : start + rows])).to(device, dtype)
        # One sum finds what is not finite ten times faster than looking at every value.
        if not torch.isfinite(block.sum()):
            bad = (~torch.isfinite(block)).any(dim=1).nonzero()
            if len(bad):
                raise E2MCError(f"features are not finite in row {start + int(bad[0])}")
        yield start, block


def _unit(block: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(block, dim=1, keepdim=True)
    if not torch.all(norms > 0):
        raise E2MCError("a feature vector is zero: its cosine is undefined")
    return block.div(norms)


def _matrix(x: ArrayLike, name: str) -> NDArray[np.floating[Any]]:
    matrix: NDArray[np.floating[Any]] = np.asanyarray(x)
    if matrix.ndim != 2 or matrix.size == 0 or not np.issubdtype(matrix.dtype, np.floating):
        raise E2MCError(
            f"{name} must be floating point of shape (samples, dim), "
            f"got {matrix.dtype} of shape {matrix.shape}"
        )
    return matrix


def _labels(y: ArrayLike, x: NDArray[np.floating[Any]], name: str) -> NDArray[np.int64]:
    labels = np.asarray(y)
    if labels.shape != (len(x),) or not np.issubdtype(labels.dtype, np.integer):
        raise E2MCError(
            f"{name} must be {len(x)} integers, got {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise E2MCError(f"{name} holds a negative label")
    return labels.astype(np.int64)
