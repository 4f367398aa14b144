"""Loader processes end with the process that they work for, whatever they are doing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PROGRAM = """
import os, signal, sys
from pathlib import Path
import numpy as np
import torch
from e2mc.data.loading import ViewBatches, load
from e2mc.data.image_set import ImageSet

def decode(path):
    print(os.getpid(), flush=True)
    return path.read_bytes()  # of a pipe that nobody writes to

images = ImageSet(Path(sys.argv[1]), ("pipe",), np.zeros(1, np.int64), ("a",))
batches = ViewBatches(images, [np.zeros(1, np.int64)] * 2, decode, lambda image, index: [])
def fail(*_):
    raise SystemExit("the training has failed")

signal.signal(signal.SIGTERM, fail)
next(load(batches, 0, 1, torch.device("cpu")))
"""


@pytest.mark.parametrize("ending", ["fails", "is killed"])
def test_a_worker_stuck_in_a_read_keeps_no_job_alive(tmp_path: Path, ending: str) -> None:
    """Workers ignore the signals of a cluster, and a dead disk lets none return from a read."""
    os.mkfifo(tmp_path / "pipe")
    job = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    worker = psutil.Process(int(job.stdout.readline()))
    assert worker.ppid() == job.pid
    os.kill(worker.pid, signal.SIGTERM)  # as a cluster does
    time.sleep(0.2)
    assert worker.is_running()
    job.send_signal(signal.SIGKILL if ending == "is killed" else signal.SIGTERM)
    job.wait(timeout=120)
    worker.wait(timeout=120)
