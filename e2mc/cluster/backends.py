"""The place where jobs run, as the site's settings name it."""

import os
import shutil

from e2mc.cluster.command import PLACE
from e2mc.cluster.local import LocalQueue
from e2mc.cluster.queues import Queue
from e2mc.cluster.settings import Cluster
from e2mc.cluster.slurm import COMMANDS, SlurmQueue
from e2mc.errors import E2MCError

_OF_A_JOB = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
_OF_THE_SITE = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")


def open_queue(cluster: Cluster) -> Queue:
    """The queue of this backend.

    Raises:
        E2MCError: Slurm is asked for, and is not here.
    """
    if cluster.backend == "local":
        return LocalQueue(cluster)
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        raise E2MCError(
            f"no Slurm here: {', '.join(missing)} not found on PATH. Load the site's Slurm module, "
            "start on a login node, or leave --profile slurm out and say --cores N"
        )
    return SlurmQueue(cluster)


def forget_own_job() -> None:
    """The head may itself be a job: its own place must not become that of its jobs."""
    for name in list(os.environ):
        if name in PLACE or (name.startswith(_OF_A_JOB) and name not in _OF_THE_SITE):
            del os.environ[name]
