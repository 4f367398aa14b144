"""What sbatch is told of a job, and what it says against it."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import submitit

from e2mc.cluster.settings import Cluster, Partition, Stage

Options = dict[str, str | int | bool]

_INSTEAD = (
    ("mem", "mem-per-cpu", "mem-per-gpu"),
    ("requeue", "no-requeue"),
    ("gpus-per-node", "gpus", "gpus-per-task"),
)
"""Options of which sbatch takes one: a site's own replaces ours."""

COUNTED_BY_COMMAND = 1_000_000
"""submitit counts every signal as a time-out where the limit is short: `Command` counts instead."""

_DEAF = """bash -c 'trap "" USR2; exec "$0" "$@"'"""
"""A job that is preempted in its first second, before submitit listens, must not die of the signal:
Slurm would call that a failure."""


def executor(cluster: Cluster, stage: Stage, folder: Path) -> Any:
    """submitit's executor for jobs of a stage.

    Args:
        cluster: the site.
        stage: what the job takes.
        folder: for submitit's own files.
    """
    python = f"{_DEAF} {cluster.python or shlex.quote(sys.executable)}"
    made = submitit.SlurmExecutor(folder, COUNTED_BY_COMMAND, python=python)
    made.update_parameters(
        time=max(1, round(stage.hours * 60)),
        nodes=stage.nodes,
        ntasks_per_node=max(1, stage.gpus),
        cpus_per_task=stage.cpus,
        signal_delay_s=cluster.warning_seconds,
        wckey=None,
        # SBATCH_EXPORT=NONE reaches srun as well, whose processes would find no PATH
        setup=["export SLURM_EXPORT_ENV=ALL", "unset SLURM_CLUSTERS", *cluster.setup],
        # since Slurm 22.05 srun does not take the CPUs of its job by itself
        srun_args=[f"--cpus-per-task={stage.cpus}", "--kill-on-bad-exit=1"],
        additional_parameters=options(cluster, stage),
    )
    return made


def options(cluster: Cluster, stage: Stage) -> Options:
    """Options of sbatch beside those that submitit has names for; a site's own go before ours."""
    place = cluster.partitions[stage.partition]
    ours: dict[str, str | int | bool | None] = {
        "clusters": cluster.cluster,
        "partition": place.partition,
        "account": place.account,
        "qos": place.qos,
        "constraint": place.constraint,
        "mem": f"{round(stage.memory_gb * 1024)}M" if stage.memory_gb is not None else None,
        "requeue": True,
        **_gpus(place, stage.gpus),
    }
    chosen = dict(place.options)
    for group in _INSTEAD:
        if any(chosen.get(name, False) is not False for name in group):
            ours = {name: value for name, value in ours.items() if name not in group}
    gres = str(chosen.get("gres") or "")
    if gres.startswith("gpu"):
        ours.pop("gpus-per-node", None)
    elif gres and "gres" in ours:
        chosen["gres"] = f"{ours['gres']},{gres}"
    merged = {**ours, **chosen}
    return {
        name: value for name, value in merged.items() if value is not None and value is not False
    }


def _gpus(place: Partition, count: int) -> Options:
    if not count:
        return {}
    wanted = f"{place.gpu_type}:{count}" if place.gpu_type else str(count)
    return {place.gpu_option: f"gpu:{wanted}" if place.gpu_option == "gres" else wanted}


_BUSY = re.compile(
    "contact slurm|timed out|refused|not responding|temporarily|Zero Bytes|slurmctld|Socket|"
    "Try again|standby mode|Transport endpoint|Unexpected message|connection failure|"
    "receive failure|presently disabled|"  # the controller is away, or about to be
    "SubmitJob|"  # a limit on jobs in the queue: AssocMaxSubmitJobLimit, QOSGrpSubmitJobsLimit
    r"inactive or drain|partition.* (not available|is down|inactive)",
    re.IGNORECASE,
)


def is_busy(complaint: str) -> bool:
    """Whether sbatch may take the job later: nobody answers, the queue is full or closed."""
    return _BUSY.search(complaint) is not None


def complaint(said: str) -> str:
    """What sbatch said, in one line: the reason stands before the last line as often as in it."""
    prefixes = re.compile(r"^((sbatch: )?(error: )?)?(allocation failure: )?")
    lines = [prefixes.sub("", line.strip()) for line in said.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))
