"""Pre-training from scratch or continued: one loop for all methods and criteria."""

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from e2mc.config.settings import TrainSettings
from e2mc.data.imagenet import open_imagenet
from e2mc.data.views import TrainingViews, steps_per_epoch
from e2mc.files import write_json, write_text
from e2mc.methods.official import export_official
from e2mc.models import save_model
from e2mc.provenance import provenance
from e2mc.training.distributed import (
    Place,
    find_place,
    on_any_rank,
    over_ranks,
    parallel,
    process_group,
)
from e2mc.training.optim import momentum_of, set_learning_rate
from e2mc.training.plan import Plan, describe, make_plan
from e2mc.training.progress import Progress, reported
from e2mc.training.run import Run, build_run, resume, save
from e2mc.training.schedule import learning_rate
from e2mc.training.state import Interrupted, remove_states, run_lock, stop_signals
from e2mc.training.step import autocast, loss_of, update
from e2mc.training.tensorboard import Events, written_events

SAVE_SECONDS = 300.0
"""Time between two states: what a kill may cost."""


def train(
    settings: TrainSettings,
    start: Path | None,
    output: Path,
    history: Path,
    metrics: Path,
    state: Path,
) -> None:
    """Train a model, going on from the newest state in ``state`` if there is one.

    The results are written once, at the end; of ``state`` only ``progress.json`` then remains.

    Args:
        settings: all that decides the outcome.
        start: imported weights to go on from; None: random weights.
        output: ``*.safetensors``, or ``*.pth`` for the method's official container.
        history: CSV, one line per epoch.
        metrics: JSON: the last epoch's terms, the plan, cost and provenance.
        state: run directory; one training at a time.

    Raises:
        E2MCError: unusable data or weights, a loss not finite, a directory in use, a full disk.
        Interrupted: SIGUSR2 or SIGTERM came; the state is saved.
    """
    _set_up_torch()
    place = find_place()
    lock = run_lock(state) if place.rank == 0 else nullcontext()
    with lock, stop_signals() as stop, process_group(place):
        data, run = _open_data(settings, place), build_run(settings, start, place)
        steps = steps_per_epoch(len(data.image_set), data.batch_size, data.drop_last)
        resume(run, state, place)
        plan = make_plan(settings, start, len(data.image_set), steps, place)
        with reported(_progress(settings, state, run, steps, plan, place)) as progress:
            with written_events(settings.tensorboard, state, run.step, place) as events:
                _train(settings, data, run, steps, state, place, stop, progress, events)
            if progress is not None:
                _write_metrics(settings, start, run, plan, progress, history, metrics)
                _write_model(settings, run, output)
                remove_states(state)
                progress.write("finished")


def _set_up_torch() -> None:
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # several trainings usually share a machine
    torch.backends.cudnn.benchmark = True  # as all official scripts; bits repeat on CPUs only


def _open_data(settings: TrainSettings, place: Place) -> TrainingViews:
    return TrainingViews(
        open_imagenet(settings.data, "train"),
        settings.recipe.views,
        settings.images,
        settings.training.batch_size,
        settings.seed,
        settings.workers,
        place.device,
        place.rank,
        place.world_size,
        drop_last=settings.recipe.drops_last,
        skip_corrupt=settings.corrupt_images == "skip",
    )


def _progress(
    settings: TrainSettings, state: Path, run: Run, steps: int, plan: Plan, place: Place
) -> Progress | None:
    """Say what will be done, and where it stands; one process does so for all."""
    if place.rank > 0:
        return None
    print(f"{describe(plan)}\n  first step              {run.step}", flush=True)
    epochs = settings.training.epochs
    path = state / "progress.json"
    progress = Progress(path, run.identity, epochs * steps, epochs, place.world_size)
    progress.start_at(run.step, len(run.history.rows), settings.training.batch_size)
    return progress


def _train(
    settings: TrainSettings,
    data: TrainingViews,
    run: Run,
    steps: int,
    state: Path,
    place: Place,
    stop: Event,
    progress: Progress | None,
    events: Events | None,
) -> None:
    """All remaining steps; states are saved, and signals heeded, between two of them."""
    training = settings.training
    network, precision = parallel(run.module, place), autocast(training.precision, place.device)
    saved = last = time.perf_counter()
    for views in _batches(data, run.step, steps, training.epochs):
        waited = time.perf_counter() - last
        torch.manual_seed(run.step)  # whatever draws numbers draws the same after a resume
        rate = learning_rate(training, run.step / steps, training.epochs)
        set_learning_rate(run.optimizer, rate)
        loss, values = loss_of(run, network, views, precision, state)
        update(run, loss)
        corrupt = over_ranks(data.corrupt, place) if data.skip_corrupt else 0
        seconds = time.perf_counter() - last
        run.history.add(values, len(views[0]) * place.world_size, corrupt, seconds, waited)
        if run.step % steps == 0:
            run.history.end_epoch(rate)
        if progress is not None:
            progress.update(run.step, len(run.history.rows), loss)
        if events is not None:
            events.add(run.step, values, rate)
        due = time.perf_counter() - saved >= SAVE_SECONDS
        stopping, due = on_any_rank((stop.is_set(), due), place)
        if stopping or due:
            save(run, state, place)
            saved = time.perf_counter()
        if stopping:
            print(f"stopped after step {run.step}; start again to go on", flush=True)
            raise Interrupted
        last = time.perf_counter()


def _batches(data: TrainingViews, first: int, steps: int, epochs: int) -> Iterator[list[Tensor]]:
    """Views of every step from ``first`` on."""
    for epoch in range(first // steps, epochs):
        for views, _ in data.epoch(epoch, max(first - epoch * steps, 0)):
            yield [view.contiguous(memory_format=torch.channels_last) for view in views]


def _write_metrics(
    settings: TrainSettings,
    start: Path | None,
    run: Run,
    plan: Plan,
    progress: Progress,
    history: Path,
    metrics: Path,
) -> None:
    write_text(history, run.history.as_csv())
    write_json(
        metrics,
        {
            "final": run.history.rows[-1],
            "plan": {name: {"run": here, "paper": paper} for name, (here, paper) in plan.items()},
            "cost": {**progress.cost(), "processes_before": run.processes[:-1]},
            "provenance": provenance(
                settings.model_dump(mode="json"), {} if start is None else {"start": start}
            ),
        },
    )


def _write_model(settings: TrainSettings, run: Run, output: Path) -> None:
    """Last, so that a run that has its model has all its results."""
    epochs = settings.training.epochs
    if output.suffix == ".pth":
        export_official(run.module, epochs, output, momentum_of(run.optimizer, run.module))
        return
    metadata = {"method": settings.recipe.method, "epochs": str(epochs), "run": run.identity}
    save_model(run.module.state_dict(), output, metadata)
