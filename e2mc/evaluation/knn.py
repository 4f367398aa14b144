"""k-nearest neighbours on cached features, and the distances that Figure 3 shows."""

from pathlib import Path

import numpy as np

from e2mc.config.settings import NeighbourSettings
from e2mc.evaluation.feature_files import open_pair
from e2mc.evaluation.neighbours import knn_top1, neighbour_distances
from e2mc.evaluation.probe import best_device
from e2mc.evaluation.results import write_classification
from e2mc.files import atomic_write, provenance


def knn(settings: NeighbourSettings, train_index: Path, test_index: Path, output: Path) -> None:
    """Classify the test images by their neighbours among the training images, both centre crops.

    metrics.json reports the first k, and every k under `neighbours`; the predictions are those of
    the first. `distances.npy` holds each test image's distance to its r-th nearest other test
    image, (m, ranks) float32, on the features as they are, neither centred nor normalised.

    Args:
        settings: k, temperature, ranks.
        train_index: `index.json` of the training features.
        test_index: `index.json` of the test features.
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
    distances = neighbour_distances(test_x, protocol.distance_ranks, device=device)
    with atomic_write(output / "distances.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, distances.astype(np.float32))
    write_classification(
        output,
        names=test.names,
        labels=test.labels,
        predictions=votes.predictions[protocol.neighbours[0]],
        classes=len(train.classes),
        train_samples=len(train.names),
        provenance=provenance(
            settings.model_dump(mode="json"), {"train": train_index, "test": test_index}
        ),
        neighbours={str(k): 100 * top1 for k, top1 in votes.top1.items()},
        distance_ranks=list(protocol.distance_ranks),
    )
