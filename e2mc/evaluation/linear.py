"""Linear evaluation on cached ImageNet views, for shares with fewer views than epochs.

Fewer views than epochs cost accuracy, the more so the fewer images there are: docs/protocols.md has
measurements. Models compared with each other need equal numbers of views. With as many views as
epochs see `e2mc.evaluation.linear_online`.
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from e2mc.config.settings import LinearSettings
from e2mc.data.image_set import ImageSet
from e2mc.data.labels import label_subset
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import Features, open_pair
from e2mc.evaluation.probe import Head, fit_heads
from e2mc.evaluation.results import write_classification
from e2mc.provenance import provenance


def linear(settings: LinearSettings, train_index: Path, test_index: Path, output: Path) -> None:
    """Train and write one probe for each share of the labels (paper 5.1, B.2.1).

    Args:
        settings: recipes and label lists.
        train_index: `index.json` of the training views.
        test_index: `index.json` of the test images.
        output: folder that receives `linear-<share>`.

    Raises:
        E2MCError: features that do not belong together or have too few views, a label list that
            does not fit, features that are not finite, or a probe that diverges.
    """
    if not settings.fits:
        raise E2MCError(
            "every share of the labels has as many views as epochs (evaluation.linear.views), "
            "which are not cached: `e2mc linear-online` trains these probes"
        )
    train, test = open_pair(train_index, test_index)
    test_x = test.whole()
    for percent, fit in settings.fits.items():
        views = _views(settings, percent, train)
        rows = _labelled(settings, percent, train)
        (fitted,) = fit_heads(
            partial(train.view, rows=rows),
            views,
            train.labels if rows is None else train.labels[rows],
            test_x,
            test.labels,
            len(train.classes),
            [Head(fit, settings.seed)],
            precision=settings.precision,
        )
        write_classification(
            output / f"linear-{percent}",
            names=test.names,
            labels=test.labels,
            predictions=fitted.predictions,
            classes=len(train.classes),
            train_samples=len(train.names) if rows is None else len(rows),
            provenance=provenance(
                settings.model_dump(mode="json"), {"train": train_index, "test": test_index}
            ),
            history=fitted.history,
            views=views,
        )


def _views(settings: LinearSettings, percent: int, train: Features) -> int:
    """Of more views that are there the first are used, as if there were no others."""
    views = settings.views[percent]
    if train.views < views:
        raise E2MCError(
            f"{train.index} holds {train.views} views, and evaluation.linear.views.{percent} asks "
            f"for {views}: extract the features again, or set it to {train.views}"
        )
    return views


def _labelled(settings: LinearSettings, percent: int, train: Features) -> NDArray[np.int64] | None:
    """Rows of the labelled training samples; None: all of them."""
    if percent == 100:
        return None
    if percent not in settings.lists:
        raise E2MCError(f"no list of {percent} % of the labels: set data.imagenet.lists.{percent}")
    images = ImageSet(train.index.parent, train.names, train.labels, train.classes)
    return label_subset(settings.lists[percent], images)
