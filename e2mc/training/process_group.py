"""Several processes of one training: how they meet, and how they end."""

import multiprocessing
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import cycle

import torch
import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from e2mc.errors import E2MCError
from e2mc.training.distributed import Place, of_srun
from e2mc.training.state import Interrupted

PATIENCE = "E2MC_PATIENCE_SECONDS"
"""This environment variable says how long a process waits before it takes a step to hang.

It is no configuration, because that would make Snakemake train anew.
"""

YEAR_SECONDS = 365 * 24 * 3600

PORTS = 3
"""How many ports are tried in a Slurm step."""

CONNECTING_SECONDS = 2
"""How long each is tried before the next."""


@contextmanager
def process_group(place: Place) -> Iterator[None]:
    """Meet the other processes, if there are any: nccl between GPUs, gloo between CPUs.

    torchrun names the meeting point in MASTER_ADDR and MASTER_PORT; under srun it is the step's
    first node. Where several processes work together, one that fails, here or in the block, prints
    its error and is gone with status 1, because the others may be waiting for it in a collective:
    whoever started them (srun, torchrun) then ends them too.
    """
    if place.world_size == 1:
        yield
        return
    try:
        _join(place)
        yield
        dist.destroy_process_group()
    except Interrupted as stopped:  # all processes at the same step
        # frames of that step hold DDP, which deadlocks if it is freed after its group
        traceback.clear_frames(stopped.__traceback__)
        dist.destroy_process_group()
        raise
    except BaseException as error:
        if isinstance(error, E2MCError):
            print(f"e2mc: rank {place.rank}: {error}", file=sys.stderr)
        else:
            traceback.print_exception(error)
        for worker in multiprocessing.active_children():
            worker.kill()  # loader workers ignore SIGTERM
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # an orderly exit would wait for peers that wait for us


def _join(place: Place) -> None:
    limit = timedelta(seconds=patience())
    if of_srun():
        store = _meet_in_slurm_step(place, limit)
    else:
        store, _, _ = next(rendezvous("env://", place.rank, place.world_size, timeout=limit))
    gpu = place.device if place.device.type == "cuda" else None
    if gpu is not None:
        torch.cuda.set_device(gpu)
        refuse_shared_gpus(store, place, str(torch.cuda.get_device_properties(gpu).uuid))
    dist.init_process_group(
        "gloo" if gpu is None else "nccl",
        store=store,
        rank=place.rank,
        world_size=place.world_size,
        timeout=limit,
        device_id=gpu,
    )


def patience() -> float:
    """Seconds that a process may take for one step, or wait for the others, before it gives up.

    Raises:
        E2MCError: the environment variable is no such time.
    """
    text = os.environ.get(PATIENCE, "1800")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= YEAR_SECONDS:
        raise E2MCError(
            f"the environment variable {PATIENCE} is {text!r}: it must be a number of seconds, "
            "more than 0 and at most a year"
        )
    return seconds


def _meet_in_slurm_step(place: Place, limit: timedelta) -> Store:
    """The store of rank 0, on the first of some ports that is free there.

    The ports follow from job and step and lie below those that Linux gives to clients. Another
    job's rank 0 may listen at one of them, so ours is known by the job and the step. (A stranger
    that listens and never answers is waited for without a limit: torch's client has none there.)
    """
    step = f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
    host = first_host(os.environ.get("SLURM_STEP_NODELIST") or os.environ["SLURM_JOB_NODELIST"])
    first = 7 * int(os.environ["SLURM_JOB_ID"]) + int(os.environ["SLURM_STEP_ID"])
    ports = [10000 + (first + 6599 * attempt) % 20000 for attempt in range(PORTS)]
    deadline = time.monotonic() + limit.total_seconds()
    for port in ports if place.rank == 0 else cycle(ports):
        try:
            store = TCPStore(
                host,
                port,
                is_master=place.rank == 0,
                timeout=timedelta(seconds=CONNECTING_SECONDS),
                wait_for_workers=False,
            )
            if place.rank == 0:
                store.set(step, "")
            store.wait([step], timedelta(seconds=CONNECTING_SECONDS))
        except dist.DistError as error:  # in use, or not yet or somebody else's
            if place.rank == 0:
                print(f"no meeting at port {port}: {error}", file=sys.stderr, flush=True)
            if time.monotonic() > deadline:
                break
        else:
            store.set_timeout(limit)
            return store
    raise E2MCError(
        f"the processes of Slurm step {step} cannot meet at {host}, ports "
        f"{', '.join(map(str, ports))}: they are in use, or rank 0 has not started"
    )


def refuse_shared_gpus(store: Store, place: Place, gpu: str) -> None:
    """Two processes on one GPU would hang or fail without a reason in NCCL.

    Args:
        store: of all processes.
        place: of this one.
        gpu: what its GPU, and no other in the world, is called.

    Raises:
        E2MCError: another process has the same.
    """
    store.set(f"gpu of rank {place.rank}", gpu)
    for rank in range(place.world_size):
        if rank != place.rank and store.get(f"gpu of rank {rank}").decode() == gpu:
            raise E2MCError(
                f"ranks {place.rank} and {rank} of {place.world_size} have the same GPU ({gpu}): "
                "start as many processes on each node as it has GPUs"
            )


def first_host(nodes: str) -> str:
    """First host of a Slurm node list: ``rack[2-3]n[07,09],x1`` is ``rack2n07``."""
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", nodes).split(",")[0]
