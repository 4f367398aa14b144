"""Semi-supervised evaluation: fine-tuning of the whole network on 1 and 10 % of the labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from e2mc.config.settings import FineTuneSettings
from e2mc.data.image_set import ImageSet
from e2mc.data.imagenet import open_imagenet
from e2mc.data.labels import listed
from e2mc.data.views import steps_per_epoch
from e2mc.evaluation.fine_tuning import Run, build, fine_tune
from e2mc.evaluation.results import write_classification
from e2mc.files import digest, sha256
from e2mc.provenance import provenance
from e2mc.training.distributed import Place
from e2mc.training.progress import Progress, reported
from e2mc.training.resumable import States, session
from e2mc.training.state import remove_states


def semisup(settings: FineTuneSettings, model: Path, output: Path, state: Path) -> None:
    """Fine-tune and write one network for each share of the labels (paper 5.2, B.2.2).

    SGD without weight decay, a new linear head with PyTorch's default initialisation and a rate of
    its own, BatchNorm in training mode, random crops (area 0.08 to 1) with a flip, as in SwAV's
    `eval_semisup.py`, which e2mc uses for both methods. Top-1 is measured after every epoch; the
    history's learning rate is the backbone's. A run that is killed goes on from ``state`` and ends
    with the same weights: to the bit on CPUs and in deterministic mode, else to rounding.

    Args:
        settings: recipes, label lists, image sizes.
        model: `model.safetensors`; only the trunk is loaded.
        output: folder that receives `semisup-1` and `semisup-10`.
        state: run directory; one fine-tuning at a time.

    Raises:
        E2MCError: data or model unusable, a loss that is not finite, or a second fine-tuning on
            the run directory.
        Interrupted: SIGUSR2 or SIGTERM came; the state is saved.
    """
    with session(state, settings) as here:
        test = open_imagenet(settings.data, "test")
        shares = {percent: _labelled(settings, percent) for percent in settings.fits}
        with reported(_progress(settings, model, state, shares, here.place)) as progress:
            for percent, fit in settings.fits.items():
                train = shares[percent]
                run = build(settings, percent, model, len(train.classes), here.place)
                states = States(state / str(percent), here)
                states.resume(run)
                done = None
                if progress is not None:
                    done = _show(progress, settings, shares, percent, run, len(test))
                fine_tune(run, settings, fit, train, test, states, done)
                if progress is not None:
                    folder = output / f"semisup-{percent}"
                    spent = {**progress.cost(), "processes_before": run.processes[:-1]}
                    _write(run, settings, model, train, test, folder, spent)
            if progress is not None:
                for percent in settings.fits:
                    remove_states(state / str(percent))
                progress.write("finished")


def _progress(
    settings: FineTuneSettings,
    model: Path,
    state: Path,
    shares: dict[int, ImageSet],
    place: Place,
) -> Progress | None:
    """That of all shares together; one process writes it for all."""
    if place.rank > 0:
        return None
    steps = sum(_steps(settings, shares, percent) for percent in shares)
    epochs = sum(fit.epochs for fit in settings.fits.values())
    identity = digest([settings.model_dump(mode="json"), sha256(model)])
    return Progress(state / "progress.json", identity, steps, epochs, place.world_size)


def _steps(settings: FineTuneSettings, shares: dict[int, ImageSet], percent: int) -> int:
    fit = settings.fits[percent]
    return fit.epochs * steps_per_epoch(len(shares[percent]), fit.batch_size)


def _show(
    progress: Progress,
    settings: FineTuneSettings,
    shares: dict[int, ImageSet],
    percent: int,
    run: Run,
    tested: int,
) -> Callable[[Tensor], None]:
    """What is to be called after each step of one share; those before it are done."""
    before = list(shares)[: list(shares).index(percent)]
    steps = sum(_steps(settings, shares, share) for share in before)
    epochs = sum(settings.fits[share].epochs for share in before)

    def done(loss: Tensor) -> None:
        progress.update(steps + run.step, epochs + len(run.history), loss)

    batch_size = settings.fits[percent].batch_size
    own = _steps(settings, shares, percent)
    work = {share: _work(settings, shares, share, tested) for share in list(shares)[len(before) :]}
    left = own * sum(work.values()) / work[percent] - run.step
    progress.start_at(steps + run.step, epochs + len(run.history), batch_size, left)
    return done


def _work(
    settings: FineTuneSettings, shares: dict[int, ImageSet], percent: int, tested: int
) -> float:
    """Images of all epochs of a share; a test image, forward alone, is a third of one."""
    return settings.fits[percent].epochs * (len(shares[percent]) + tested / 3)


def _labelled(settings: FineTuneSettings, percent: int) -> ImageSet:
    return listed(open_imagenet(settings.data, "train"), settings.data.lists, percent)


def _write(
    run: Run,
    settings: FineTuneSettings,
    model: Path,
    train: ImageSet,
    test: ImageSet,
    folder: Path,
    spent: dict[str, Any],
) -> None:
    predictions: NDArray[np.int64] = run.predictions.numpy()
    write_classification(
        folder,
        names=test.names,
        labels=test.labels,
        predictions=predictions,
        classes=len(test.classes),
        train_samples=len(train),
        provenance=provenance(settings.model_dump(mode="json"), {"model": model}),
        history=run.history,
        spent=spent,
    )
