"""Few-shot transfer: linear probes and nearest neighbours from few images per class."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2mc.config.evaluation import Classifier, FewLabels, FewShot
from e2mc.config.settings import ProtocolSettings
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import Features, open_pair
from e2mc.evaluation.results import write_classification
from e2mc.provenance import provenance

ITERATIONS = 1000
"""Of L-BFGS, as in the code of Tian et al. 2020 (WangYueFt/rfs, `eval/meta_eval.py`)."""


def few_shot(
    settings: ProtocolSettings[FewShot], train_index: Path, test_index: Path, output: Path
) -> None:
    """Classify the test images from `shots` training images per class; every crop is a centre crop.

    An accuracy is the mean over several draws of the labelled images. Draws depend on the seed
    alone, so models are compared on the same images, and the labelled images of a smaller number
    of shots are among those of a larger one.

    Args:
        settings: classifiers, shots, draws, seed.
        train_index: `index.json` of the training features.
        test_index: `index.json` of the test features.
        output: folder that receives `<data set>-<classifier>-<shots>`.

    Raises:
        E2MCError: features that do not belong together, are zero or not finite, several labels per
            image, or a class with fewer images than shots.
    """
    train, test = open_pair(train_index, test_index)
    options = settings.protocol
    if train.labels.ndim != 1:
        raise E2MCError(f"{train_index} has several labels per image; few-shot needs one")
    train_x, test_x = train.whole(), test.whole()
    for shots in options.shots:
        draws = [labelled(train, shots, settings.seed, draw) for draw in range(options.draws)]
        for classifier in options.classifiers:
            predictions = np.stack(
                [
                    classify(classifier, train_x[rows], train.labels[rows], test_x, shots, options)
                    for rows in draws
                ]
            )
            write_classification(
                output / f"{train.dataset}-{classifier}-{shots}",
                names=test.names,
                labels=test.labels,
                predictions=predictions,
                classes=len(train.classes),
                train_samples=len(draws[0]),
                provenance=provenance(
                    settings.model_dump(mode="json"), {"train": train_index, "test": test_index}
                ),
                draws=[100 * float(top1) for top1 in (predictions == test.labels).mean(axis=1)],
            )


def labelled(train: Features, shots: int, seed: int, draw: int) -> NDArray[np.int64]:
    """Rows of the first `shots` images of each class in the random order of a draw.

    Raises:
        E2MCError: a class has fewer images.
    """
    order = np.random.default_rng([seed, draw]).permutation(len(train.labels))
    rows = []
    for label, name in enumerate(train.classes):
        of_class = order[train.labels[order] == label]
        if len(of_class) < shots:
            raise E2MCError(
                f"{train.index}: class {name} has {len(of_class)} training images; ask for fewer "
                "in `shots`"
            )
        rows.append(of_class[:shots])
    return np.concatenate(rows)


def classify(
    classifier: Classifier,
    x: NDArray[np.float16],
    y: NDArray[np.int64],
    test_x: NDArray[np.float16],
    shots: int,
    options: FewLabels,
) -> NDArray[np.int64]:
    """Predicted classes of the test samples, (m,), from labelled features (n, dim).

    `linear` is logistic regression with an L2 penalty on features of unit length, as in the code
    of Tian et al. 2020 (*Rethinking few-shot image classification*); `knn` the cosine-weighted
    vote of the `shots` nearest.
    """
    if classifier == "knn":
        from e2mc.evaluation.neighbours import knn_top1

        nobody = np.zeros(len(test_x), np.int64)
        votes = knn_top1(x, y, test_x, nobody, (shots,), options.temperature)
        return votes.predictions[shots]
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=options.cost, max_iter=ITERATIONS)
    found: NDArray[np.int64] = model.fit(_unit(x), y).predict(_unit(test_x))
    return found


def _unit(x: NDArray[np.float16]) -> NDArray[np.float64]:
    """Rows of unit length; zero stays zero."""
    wide = x.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(length > 0, length, 1.0)
