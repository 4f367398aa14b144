"""Where a run is: progress.json for others, a bar or lines for whoever watches."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from e2mc.errors import E2MCError
from e2mc.files import write_json
from e2mc.training.state import Interrupted

FILE_SECONDS = 3.0
LINE_SECONDS = 10.0


class Progress:
    """Writes ``progress.json`` every few seconds, and shows a bar on a terminal or plain lines.

    Args:
        path: of progress.json.
        step: steps done already.
        steps: steps in all.
        epochs: epochs in all.
        batch_size: images per step over all processes.
        restarts: how many times the run was started before.
    """

    def __init__(
        self, path: Path, step: int, steps: int, epochs: int, batch_size: int, restarts: int
    ) -> None:
        self.path = path
        self.batch_size = batch_size
        self.content: dict[str, Any] = {
            "status": "running",
            "epoch": step * epochs // steps,
            "epochs": epochs,
            "step": step,
            "steps": steps,
            "images_per_second": None,
            "seconds_left": None,
            "restarts": restarts,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "started": time.time(),
        }
        self.bar = _bar(step, steps) if sys.stderr.isatty() else None
        self.filed, self.filed_step = time.monotonic(), step
        self.lined = time.monotonic()
        self.write("running")

    def write(self, status: str) -> None:
        """Write progress.json now."""
        self.content |= {"status": status, "updated": time.time()}
        write_json(self.path, self.content)

    def update(self, step: int, epoch: int, loss: Tensor) -> None:
        """One more step is done; ``epoch`` counts finished epochs."""
        self.content |= {"step": step, "epoch": epoch}
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
        now = time.monotonic()
        if now - self.filed < FILE_SECONDS:
            return
        rate = (step - self.filed_step) / (now - self.filed)
        self.content["images_per_second"] = round(rate * self.batch_size, 1)
        self.content["seconds_left"] = round((self.content["steps"] - step) / rate)
        self.filed, self.filed_step = now, step
        self.write("running")
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{loss.item():.4g}")
        elif now - self.lined >= LINE_SECONDS:
            self.lined = now
            print(self._line(loss), flush=True)

    def _line(self, loss: Tensor) -> str:
        at = self.content
        return (
            f"epoch {at['epoch'] + 1}/{at['epochs']}  step {at['step']}/{at['steps']}  "
            f"loss {loss.item():.4g}  {at['images_per_second']:.0f} images/s  "
            f"{at['seconds_left']} s left"
        )


def _bar(step: int, steps: int) -> Any:
    from tqdm import tqdm

    return tqdm(initial=step, total=steps, unit="step", mininterval=0.5)


@contextmanager
def reported(progress: Progress | None) -> Iterator[Progress | None]:
    """Leave the outcome in progress.json however the block ends, kill -9 excepted."""
    try:
        yield progress
    except BaseException as error:
        if progress is not None:
            with suppress(E2MCError):  # a full disk must not hide what went wrong
                progress.write("interrupted" if isinstance(error, Interrupted) else "failed")
        raise
    finally:
        if progress is not None and progress.bar is not None:
            progress.bar.close()
