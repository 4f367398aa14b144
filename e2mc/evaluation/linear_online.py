"""Linear evaluation on a fresh random view in every epoch: the published protocol.

View by view: the features of all listed images in view e are computed, the probes of all shares
are trained for epoch e on them, and they are forgotten. Nothing is cached, and few labels need few
images: those of ImageNet's 1 and 10 % are 140,927 of 1,281,167.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.settings import Kind, LinearOnlineSettings
from e2mc.data.evaluation_views import View, consecutive
from e2mc.data.image_set import ImageSet
from e2mc.data.imagenet import open_imagenet
from e2mc.data.labels import label_subset
from e2mc.errors import E2MCError
from e2mc.evaluation.frozen import compute, frozen_trunk, require_finite, seen
from e2mc.evaluation.probe import FittedHead, Head, Probe
from e2mc.evaluation.results import write_classification
from e2mc.files import digest, sha256
from e2mc.models.backbone import Trunk
from e2mc.provenance import provenance
from e2mc.training.distributed import find_place
from e2mc.training.progress import Progress, reported
from e2mc.training.resumable import States, session
from e2mc.training.state import remove_states

BLOCK_BYTES = 2**32
"""Features in memory at a time. Views that fit into it are made together, so that each image is
decoded once for all of them."""


def linear_online(settings: LinearOnlineSettings, model: Path, output: Path, state: Path) -> None:
    """Train and write one probe for each share of the labels (paper 5.1, B.2.1).

    A run that is killed goes on from ``state`` at the epoch after the last saved one, and ends with
    the same weights: to the bit on CPUs and in deterministic mode, else to rounding.

    Args:
        settings: recipes, label lists, and how images are seen.
        model: `model.safetensors`; only the trunk is loaded.
        output: folder that receives `linear-<share>`.
        state: run directory; one such job at a time.

    Raises:
        E2MCError: data, a label list or the model unusable, features that are not finite, a probe
            that diverges, several processes, or a second job on the run directory.
        Interrupted: SIGUSR2 or SIGTERM came; the state is saved.
    """
    if find_place().world_size > 1:
        raise E2MCError("linear-online runs in one process: start it alone, without torchrun")
    with session(state, settings) as here:
        data = Listed.read(settings)
        with reported(_progress(settings, model, data, state)) as progress:
            assert progress is not None
            fitted = fit_online(settings, model, data, States(state, here), progress.update)
            for percent, head in fitted.items():
                write_classification(
                    output / f"linear-{percent}",
                    names=data.test.names,
                    labels=data.test.labels,
                    predictions=head.predictions,
                    classes=len(data.train.classes),
                    train_samples=len(data.rows[percent]),
                    provenance=provenance(settings.model_dump(mode="json"), {"model": model}),
                    history=head.history,
                    spent=progress.cost(),
                    views=len(head.history),
                )
            remove_states(state)
            progress.write("finished")


@dataclass(frozen=True, eq=False)
class Listed:
    """The images of the probes.

    Attributes:
        train: all training images.
        test: test images.
        rows: share of the labels -> its images, in the list's order, as indices into `train`.
        union: all of these, each once, in the data set's order.
    """

    train: ImageSet
    test: ImageSet
    rows: dict[int, NDArray[np.int64]]
    union: NDArray[np.int64]

    @classmethod
    def read(cls, settings: LinearOnlineSettings) -> "Listed":
        """From the trees and lists of the settings.

        Raises:
            E2MCError: there is no list for a share, or it does not fit the images.
        """
        train, test = (open_imagenet(settings.data, split) for split in ("train", "test"))
        rows = {percent: _labelled(settings, percent, train) for percent in settings.fits}
        return cls(train, test, rows, np.unique(np.concatenate([*rows.values()])))

    def batches(self, settings: LinearOnlineSettings) -> list[NDArray[np.int64]]:
        """The union, as the trunk sees it."""
        batches = consecutive(0, len(self.union), settings.batch_size)
        return [self.union[batch] for batch in batches]


def _epochs(settings: LinearOnlineSettings) -> int:
    return max(fit.epochs for fit in settings.fits.values())


def _identity(settings: LinearOnlineSettings, model: Path) -> str:
    return digest([settings.model_dump(mode="json"), sha256(model)])


def _progress(settings: LinearOnlineSettings, model: Path, data: Listed, state: Path) -> Progress:
    """Its steps are batches of one view."""
    epochs = _epochs(settings)
    steps = epochs * len(data.batches(settings))
    progress = Progress(state / "progress.json", _identity(settings, model), steps, epochs, 1)
    progress.start_at(0, 0, settings.batch_size)
    return progress


def _labelled(settings: LinearOnlineSettings, percent: int, train: ImageSet) -> NDArray[np.int64]:
    if percent == 100:
        return np.arange(len(train))
    if percent not in settings.data.lists:
        raise E2MCError(f"no list of {percent} % of the labels: set data.imagenet.lists.{percent}")
    return label_subset(settings.data.lists[percent], train)


@dataclass
class Run:
    """Probes being trained, see `e2mc.training.resumable.Resumable`; a step is an epoch."""

    identity: str
    probes: dict[int, Probe]
    processes: list[int]
    step: int = 0

    def train(self, features: Tensor, positions: Mapping[int, Tensor]) -> None:
        """One epoch on a view of all images, of which each probe has those at its positions."""
        for percent, probe in self.probes.items():
            if self.step < probe.epochs:
                probe.train(features.index_select(0, positions[percent]))
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""
        return {"probes": {percent: one.state_dict() for percent, one in self.probes.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same identity."""
        for percent, probe in self.probes.items():
            probe.load_state_dict(state["probes"][percent])


def fit_online(
    settings: LinearOnlineSettings,
    model: Path,
    data: Listed,
    states: States,
    report: Callable[[int, int], None] = lambda batches, epochs: None,
) -> dict[int, FittedHead]:
    """Train the probes of all shares on one model's features, from the newest state on.

    Args:
        settings: as of :func:`linear_online`.
        model: a model file with a trunk.
        data: the images.
        states: of this run.
        report: called with the batches, of one view each, and the epochs that are done.

    Returns:
        Share of the labels -> classifier.

    Raises:
        E2MCError: as :func:`linear_online`.
        Interrupted: as :func:`linear_online`.
    """
    device = states.here.place.device
    trunk = frozen_trunk(settings, model, device)
    run = _start(settings, model, data, trunk, device)
    states.resume(run)
    positions = {
        percent: torch.from_numpy(np.searchsorted(data.union, rows)).to(device)
        for percent, rows in data.rows.items()
    }
    last, batches = _epochs(settings), data.batches(settings)
    block = max(1, BLOCK_BYTES // (2 * trunk.feature_dimension * len(data.union)))
    while run.step < last:
        views = [View("random", at) for at in range(run.step, min(run.step + block, last))]

        def after_batch(done: int, step: int = run.step, count: int = len(views)) -> None:
            report(step * len(batches) + done * count, step)
            states.between_steps(run, last)

        for view in _features(settings, trunk, data.train, views, batches, device, after_batch):
            run.train(torch.from_numpy(view).to(device), positions)
            states.between_steps(run, last)
        report(run.step * len(batches), run.step)
    return {percent: probe.fitted()[0] for percent, probe in run.probes.items()}


def _start(
    settings: LinearOnlineSettings, model: Path, data: Listed, trunk: Trunk, device: torch.device
) -> Run:
    batches = consecutive(0, len(data.test), settings.batch_size)
    (centre,) = _features(settings, trunk, data.test, [View("center")], batches, device)
    probes = {
        percent: Probe(
            data.train.labels[data.rows[percent]],
            centre,
            data.test.labels,
            len(data.train.classes),
            [Head(fit, settings.seed)],
            precision=settings.products,
        )
        for percent, fit in settings.fits.items()
    }
    return Run(_identity(settings, model), probes, [1])


def _features(
    settings: LinearOnlineSettings,
    trunk: Trunk,
    images: ImageSet,
    views: list[View],
    batches: list[NDArray[np.int64]],
    device: torch.device,
    after_batch: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float16]:
    """(views, images of the batches, dim), finite."""
    dims: dict[Kind, int] = {"pooled": trunk.feature_dimension}
    shown = seen(settings, images, views, batches, device)
    features = compute(settings, trunk, shown, batches, len(views), dims, after_batch)["pooled"]
    names = [images.names[row] for batch in batches for row in batch]
    for view in features:
        require_finite(view, names, "the features of {} are")
    return features
