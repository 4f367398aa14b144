"""The VOC07 protocol: cached features in, one SVM per class, mAP out."""

from pathlib import Path

from e2mc.config.evaluation import VOC07
from e2mc.config.settings import ProtocolSettings
from e2mc.errors import E2MCError
from e2mc.evaluation.feature_files import open_pair
from e2mc.evaluation.results import write_multilabel
from e2mc.evaluation.svm import svm_average_precision
from e2mc.provenance import provenance


def voc07(
    settings: ProtocolSettings[VOC07], train_index: Path, test_index: Path, output: Path
) -> None:
    """Train, test and write the SVMs (paper 5.3, B.2.4); see `svm_average_precision`.

    Args:
        settings: costs, folds, seed.
        train_index: `index.json` of trainval.
        test_index: `index.json` of test.
        output: the protocol's folder.

    Raises:
        E2MCError: features that do not belong together or are not finite, or a class with too
            few objects.
    """
    train, test = open_pair(train_index, test_index)
    if train.labels.ndim != 2:
        raise E2MCError(f"{train_index} has one class per image; the SVM protocol needs VOC labels")
    result = svm_average_precision(
        train.whole(),
        train.labels,
        test.whole(),
        test.labels,
        settings.protocol.costs,
        settings.protocol.folds,
        settings.seed,
        train.classes,
    )
    write_multilabel(
        output,
        names=test.names,
        labels=test.labels,
        scores=result.scores,
        classes=test.classes,
        average_precision=result.average_precision,
        train_samples=len(train.names),
        provenance=provenance(
            settings.model_dump(mode="json"), {"train": train_index, "test": test_index}
        ),
        crop=train.crops[0],
        costs=dict(zip(train.classes, result.costs.tolist(), strict=True)),
        unconverged_fits=result.unconverged,
    )
