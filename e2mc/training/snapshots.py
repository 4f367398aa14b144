"""Snapshots of a run: its trunk after some epochs, and its model when the run goes on beyond it.

They wait in the run directory until the run is finished, so that results appear once, at the end.
"""

import shutil
from pathlib import Path

from e2mc.config.settings import TrainSettings
from e2mc.errors import E2MCError
from e2mc.files import atomic_write
from e2mc.models.store import load_metadata, save_model
from e2mc.plan.layout import SNAPSHOT_FILE
from e2mc.training.distributed import Place, from_rank_zero
from e2mc.training.run import Run
from e2mc.training.state import remove_states

MODEL = "model.safetensors"
BACKBONE = "backbone."


def keep(settings: TrainSettings, run: Run, epoch: int, folder: Path, place: Place) -> None:
    """Write what is asked for after this epoch; called before the run's state is saved.

    Args:
        settings: which epochs.
        run: after the last step of the epoch.
        epoch: finished epochs.
        folder: run directory.
        place: of this process; one of them writes.

    Raises:
        E2MCError: the disk is full or the folder cannot be written.
    """
    if place.rank > 0 or not settings.snapshots:
        return
    state, metadata = run.module.state_dict(), metadata_of(settings, run, epoch)
    if epoch == settings.training.epochs:
        save_model(state, folder / MODEL, metadata)
    if epoch in settings.snapshots:
        trunk = {name: value for name, value in state.items() if name.startswith(BACKBONE)}
        save_model(trunk, folder / SNAPSHOT_FILE.format(epoch=epoch), metadata)


def metadata_of(settings: TrainSettings, run: Run, epochs: int) -> dict[str, str]:
    """What a file of weights says about itself."""
    return {"method": settings.recipe.method, "epochs": str(epochs), "run": run.identity}


def kept_until(settings: TrainSettings, run: Run, steps: int, folder: Path, place: Place) -> bool:
    """Whether a resumed run has kept all that it has passed; if not, its states are removed.

    A state of the same run may come from a start that was asked for fewer snapshots.

    Args:
        settings: which epochs.
        run: as resumed.
        steps: per epoch.
        folder: run directory.
        place: of this process.
    """
    passed = [path for epoch, path in _kept(settings, folder) if epoch <= run.step // steps]
    missing = [path.name for path in passed if not _is_of(run, path)] if place.rank == 0 else []
    if from_rank_zero(len(missing), place) == 0:
        return True
    if place.rank == 0:
        print(f"{folder} lacks {', '.join(missing)} of this run: starting anew", flush=True)
        remove_states(folder)
    return False


def hand_over(settings: TrainSettings, folder: Path, output: Path) -> None:
    """Copy snapshots beside the output, and last the model to it."""
    for _, path in _kept(settings, folder):
        target = output if path.name == MODEL else output.parent / path.name
        with atomic_write(target) as temporary:
            shutil.copyfile(path, temporary)


def remove_kept(settings: TrainSettings, folder: Path) -> None:
    """Delete what was handed over."""
    for _, path in _kept(settings, folder):
        path.unlink()


def _kept(settings: TrainSettings, folder: Path) -> list[tuple[int, Path]]:
    """Epochs and their files in the run directory, the model last; a run without has none."""
    if not settings.snapshots:
        return []
    files = [(epoch, folder / SNAPSHOT_FILE.format(epoch=epoch)) for epoch in settings.snapshots]
    return [*files, (settings.training.epochs, folder / MODEL)]


def _is_of(run: Run, path: Path) -> bool:
    try:
        return load_metadata(path)["run"] == run.identity
    except (E2MCError, KeyError):
        return False
