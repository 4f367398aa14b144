"""Memory that trainings need: of a GPU, and of /dev/shm, where loader processes hand over views."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from e2mc.cluster.settings import CLUSTER_SETTINGS, Cluster, load_cluster
from e2mc.config import stages
from e2mc.config.experiment import Experiment
from e2mc.config.settings import TrainSettings
from e2mc.doctor.findings import Finding
from e2mc.errors import E2MCError

SHARED = Path("/dev/shm")
PREFETCHED = 2
"""Batches per loader process that wait to be taken, torch's default."""
TIGHT = 0.85
"""Share of a GPU above which temporary memory may be too much; it is not counted."""

Training = tuple[str, str, TrainSettings]
"""Key of the schedule in an experiment, rule, and settings."""


def trainings(experiment: Experiment) -> Iterator[Training]:
    """One of each kind: criteria and trials need alike."""
    for base, one in experiment.bases.items():
        key = f"methods.{one.method}"
        settings = stages.pretrain_settings(experiment, base, "continued", trial=0)
        yield f"{key}.continued", "pretrain", settings
        if one.checkpoint is None:
            yield f"{key}.scratch", "scratch", stages.scratch_settings(experiment, base)


def gpus(experiment: Experiment, cluster_file: Path = CLUSTER_SETTINGS) -> Iterator[Finding]:
    """What each training takes of a GPU, beside what it has; nothing where none is to be used."""
    import torch

    from e2mc.training.memory import memory_of

    cluster, enough = _cluster(cluster_file), []
    if not (torch.cuda.is_available() or cluster or experiment.comparable):
        return
    for key, rule, settings in _of_each_kind(experiment):
        processes = cluster.stages[rule].processes if cluster and rule in cluster.stages else 1
        needed, there = memory_of(settings, processes), _gpu_bytes(cluster, rule)
        what = f"{key} {needed.bytes / 1e9:.0f} GB for {needed.images} images"
        if there is None or needed.bytes < TIGHT * there:
            enough.append(what if there is None else f"{what}, of {there / 1e9:.0f} GB")
            continue
        yield Finding(
            "warning" if needed.bytes < there else "error",
            f"a step takes at least this of a GPU's memory: {what}, and it has "
            f"{there / 1e9:.0f} GB",
            f"set {key}.checkpointing: true, or share the batch among more GPUs "
            f"(stages.{rule}.gpus in {cluster_file}), or ask for a larger type",
        )
    if enough:
        yield Finding("ok", f"a step takes at least this of a GPU's memory: {'; '.join(enough)}")


def _of_each_kind(experiment: Experiment) -> Iterable[Training]:
    return {training[0]: training for training in trainings(experiment)}.values()


def _cluster(path: Path) -> Cluster | None:
    """What the site says, where there is Slurm."""
    if shutil.which("sbatch") is None or not path.exists():
        return None
    try:
        return load_cluster(path)
    except E2MCError:
        return None  # the finding about Slurm says so


def _gpu_bytes(cluster: Cluster | None, rule: str) -> int | None:
    """Of the smallest GPU that a training may get."""
    import torch

    if cluster is not None and rule in cluster.stages:
        said = cluster.partitions[cluster.stages[rule].partition].gpu_memory_gb
        if said is not None:
            return int(said * 1e9)
    if not torch.cuda.is_available():
        return None
    devices = range(torch.cuda.device_count())
    return min(int(torch.cuda.get_device_properties(one).total_memory) for one in devices)


def loaders(experiment: Experiment) -> Iterator[Finding]:
    """Loader processes against the CPUs and the shared memory of this machine."""
    from e2mc.data import loading

    workers = experiment.data.workers
    loaded = [one for one in trainings(experiment) if one[2].recipe.views.pipeline != "tensor"]
    if not workers or not loaded:
        return
    cpus = loading.usable_cpus()
    if workers >= cpus:
        yield Finding(
            "warning",
            f"data.workers is {workers} and this machine has {cpus} CPUs: a training here starts "
            f"{max(1, cpus - 1)}",
            "nothing to do, if trainings run on other machines; else fewer workers, or pipeline: "
            "device, which needs a third of the CPU's time",
        )
    if not SHARED.exists():
        return
    needed = max(PREFETCHED * workers * _batch_bytes(settings) for _, _, settings in loaded)
    there = shutil.disk_usage(SHARED).total
    what = f"{SHARED} has {there / 1e9:.1f} GB; loader processes fill up to {needed / 1e9:.1f} GB"
    if needed < there:
        yield Finding("ok", what)
    else:
        yield Finding("error", what, "docker run --shm-size=8g (or --ipc=host), or fewer workers")


def _batch_bytes(settings: TrainSettings) -> int:
    """Views of one step in bytes, if one process has the whole batch."""
    views, sizes = settings.recipe.views, settings.images
    pixels = views.full_views * sizes.size**2 + views.small_views * sizes.small_size**2
    return 3 * pixels * settings.training.batch_size
