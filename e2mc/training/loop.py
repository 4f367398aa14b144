"""Pre-training from scratch or continued: one loop for all methods and criteria."""

import time
from pathlib import Path

import torch

from e2mc.config.settings import TrainSettings
from e2mc.data.imagenet import open_imagenet
from e2mc.data.views import TrainingViews
from e2mc.files import write_record, write_text
from e2mc.methods.official import export_official
from e2mc.models import save_model
from e2mc.provenance import provenance
from e2mc.training.distributed import Place, over_ranks, parallel
from e2mc.training.optim import momentum_of, set_learning_rate
from e2mc.training.plan import Plan, describe, describe_first_step, first_step, make_plan
from e2mc.training.progress import Progress, reported
from e2mc.training.resumable import States, remaining, session
from e2mc.training.run import Run, build_run
from e2mc.training.schedule import learning_rate
from e2mc.training.snapshots import (
    hand_over,
    keep,
    kept_until,
    metadata_of,
    remove_kept,
    snapshots_beside,
)
from e2mc.training.state import remove_states
from e2mc.training.step import autocast, loss_of, update
from e2mc.training.tensorboard import Events, written_events


def train(
    settings: TrainSettings,
    start: Path | None,
    output: Path,
    history: Path,
    metrics: Path,
    state: Path,
) -> None:
    """Train a model, going on from the newest state in ``state`` if there is one.

    The results are written once, at the end; of ``state`` only ``progress.json`` then remains. With
    snapshots beyond the model's epochs the run goes on after the model is finished; the model is
    the one that it would be without them: to the bit on CPUs and in deterministic mode, else to
    rounding.

    Args:
        settings: all that decides the outcome.
        start: imported weights to go on from; None: random weights.
        output: ``*.safetensors``, or ``*.pth`` for the method's official container. Snapshots lie
            beside it, as `layout.SNAPSHOT_FILE` says.
        history: CSV, one line per epoch.
        metrics: JSON: the last epoch's terms, the plan, cost and provenance.
        state: run directory; one training at a time.

    Raises:
        E2MCError: unusable data or weights, a loss not finite, a directory in use, a full disk.
        Interrupted: SIGUSR2 or SIGTERM came; the state is saved.
    """
    with session(state, settings) as here:
        place, states = here.place, States(state, here)
        data, run = _open_data(settings, place), build_run(settings, start, place)
        states.resume(run)
        if not kept_until(settings, run, data.steps, state, place):
            run = build_run(settings, start, place)
        plan = make_plan(settings, start, len(data.image_set), data.steps, place)
        with reported(_progress(settings, state, run, data.steps, plan, place)) as progress:
            with written_events(settings.tensorboard, state, run.step, place) as events:
                _train(settings, data, run, states, progress, events)
            if progress is not None:
                write_text(history, run.history.as_csv())
                _write_model(settings, run, state, output)
                _write_metrics(settings, start, run, plan, progress, metrics, output)
                remove_states(state)
                remove_kept(settings, state)
                progress.write("finished")


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
    epochs = settings.epochs
    path = state / "progress.json"
    progress = Progress(path, run.identity, epochs * steps, epochs, place.world_size)
    progress.start_at(run.step, len(run.history.rows), settings.training.batch_size)
    return progress


def _train(
    settings: TrainSettings,
    data: TrainingViews,
    run: Run,
    states: States,
    progress: Progress | None,
    events: Events | None,
) -> None:
    """All remaining steps."""
    training, place, steps = settings.training, states.here.place, data.steps
    last, last_of_model = settings.epochs * steps, training.epochs * steps
    network, precision = parallel(run.module, place), autocast(training.precision, place.device)
    for views, _, waited in remaining(run, data, settings.epochs):
        began = time.perf_counter()
        torch.manual_seed(run.step)  # whatever draws numbers draws the same after a resume
        rate = learning_rate(training, run.step / steps, training.epochs)
        set_learning_rate(run.optimizer, rate)
        run.module.before_step(run.step, run.step // steps, training)
        fresh = run.first_loss is None
        loss, values = loss_of(run, network, views, precision, states.folder)
        if fresh and run.first_loss is not None and place.rank == 0:
            print(describe_first_step(first_step(run, settings)), flush=True)
        update(run, loss)
        run.module.after_step(run.step, last_of_model)
        corrupt = over_ranks(data.corrupt, place) if data.skip_corrupt else 0
        seconds = waited + time.perf_counter() - began
        run.history.add(values, len(views[0]) * place.world_size, corrupt, seconds, waited)
        if run.step % steps == 0:
            run.history.end_epoch(rate)
            keep(settings, run, run.step // steps, states.folder, place)
        if progress is not None:
            progress.update(run.step, len(run.history.rows), loss)
        if events is not None and values:
            events.add(run.step, values, rate)
        states.between_steps(run, last)


def _write_metrics(
    settings: TrainSettings,
    start: Path | None,
    run: Run,
    plan: Plan,
    progress: Progress,
    metrics: Path,
    output: Path,
) -> None:
    """Last: a run that has its metrics has all its results."""
    write_record(
        metrics,
        {
            "final": run.history.rows[settings.training.epochs - 1],
            **({"snapshots": list(settings.snapshots)} if settings.snapshots else {}),
            "first_step": first_step(run, settings),
            "plan": {name: {"run": here, "paper": paper} for name, (here, paper) in plan.items()},
            "cost": {**progress.cost(), "processes_before": run.processes[:-1]},
            "provenance": provenance(
                settings.model_dump(mode="json"), {} if start is None else {"start": start}
            ),
        },
        [output, *snapshots_beside(settings, output)],
    )


def _write_model(settings: TrainSettings, run: Run, state: Path, output: Path) -> None:
    if settings.snapshots:
        hand_over(settings, state, output)
        return
    epochs = settings.training.epochs
    if output.suffix == ".pth":
        export_official(run.module, epochs, output, momentum_of(run.optimizer, run.module))
        return
    save_model(run.module.state_dict(), output, metadata_of(settings, run, epochs))
