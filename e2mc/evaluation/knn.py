"""k-nearest neighbours on cached features, and distances between embeddings (Figure 3)."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from e2mc.config.settings import KNNSettings
from e2mc.criteria import to_unit_cube
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import open_pair
from e2mc.evaluation.neighbours import knn_top1, neighbour_distances
from e2mc.evaluation.results import write_classification
from e2mc.evaluation.streams import best_device
from e2mc.files import atomic_write, check
from e2mc.plan import layout
from e2mc.provenance import provenance

ROWS = 1024


def knn(
    settings: KNNSettings,
    train_index: Path,
    test_index: Path,
    embeddings: Path,
    output: Path,
) -> None:
    """Classify the test images by their neighbours among the training images, both centre crops.

    metrics.json reports the first k, and every k under `neighbours`; the predictions are those of
    the first. `distances.npy` holds each test embedding's distance to its r-th nearest other,
    (m, ranks) float32, in the compact space of the criterion: where Figures 2 and D.1 show
    marginals, and where no scale can grow.

    Args:
        settings: k, temperature, ranks, space.
        train_index: `index.json` of the training features.
        test_index: `index.json` of the test features.
        embeddings: `embeddings.npy` of the extraction, (m, d).
        output: the protocol's folder.

    Raises:
        E2MCError: features that do not belong together, are zero or not finite, or more
            neighbours asked for than there are.
    """
    train, test = open_pair(train_index, test_index)
    protocol, device = settings.protocol, str(best_device())
    test_x = test.whole()
    votes = knn_top1(
        train.whole(),
        train.labels,
        test_x,
        test.labels,
        protocol.neighbours,
        protocol.temperature,
        device=device,
    )
    cube = in_unit_cube(embeddings, settings.space)
    distances = neighbour_distances(cube, protocol.distance_ranks, device=device)
    with atomic_write(output / layout.DISTANCES_FILE) as temporary, temporary.open("wb") as stream:
        np.save(stream, distances.astype(np.float32))
    write_classification(
        output,
        names=test.names,
        labels=test.labels,
        predictions=votes.predictions[protocol.neighbours[0]],
        classes=len(train.classes),
        train_samples=len(train.names),
        provenance=provenance(
            settings.model_dump(mode="json"),
            {"train": train_index, "test": test_index, "embeddings": embeddings},
        ),
        neighbours={str(k): 100 * top1 for k, top1 in votes.top1.items()},
        distance_ranks=list(protocol.distance_ranks),
    )


def in_unit_cube(path: Path, space: Literal["hypercube", "hypersphere"]) -> NDArray[np.float16]:
    """Embeddings from a file, mapped to [0, 1]: half precision, for all of ImageNet's fit twice."""
    check(path)
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise E2MCError(
            f"cannot read the embeddings {path} ({error}): delete it and extract again"
        ) from error
    cube = np.empty(stored.shape, np.float16)
    for start in range(0, len(stored), ROWS):
        block = torch.from_numpy(stored[start : start + ROWS].astype(np.float32))
        cube[start : start + ROWS] = to_unit_cube(block, space).numpy()
    return cube
