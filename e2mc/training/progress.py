"""Where a run is: progress.json for others, a bar or lines for whoever watches."""

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from e2mc.errors import E2MCError
from e2mc.files import read_json, write_json
from e2mc.provenance import cost
from e2mc.training.state import Interrupted

FILE_SECONDS = 3.0
LINE_SECONDS = 10.0


class Progress:
    """Writes ``progress.json`` every few seconds, and shows a bar on a terminal or plain lines.

    What was spent by earlier starts of the same run is carried over from the file.

    Args:
        path: of progress.json.
        identity: of the run, see `e2mc.training.run.Run`.
        steps: steps in all.
        epochs: epochs in all.
        processes: that work together.
    """

    def __init__(self, path: Path, identity: str, steps: int, epochs: int, processes: int) -> None:
        self.path = path
        self.processes = processes
        self.before = _spent_before(path, identity)
        self.content: dict[str, Any] = {
            "status": "running",
            "identity": identity,
            "epoch": 0,
            "epochs": epochs,
            "step": 0,
            "steps": steps,
            "images_per_second": None,
            "seconds_left": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": time.time(),
        }
        self.bar = _bar(steps) if sys.stderr.isatty() else None
        self.lined = time.monotonic()
        self.start_at(0, 0, 0)

    def start_at(self, step: int, epoch: int, batch_size: int, left: float | None = None) -> None:
        """Go on from here.

        Args:
            step: steps done.
            epoch: epochs done.
            batch_size: images in each step, over all processes.
            left: steps to come, where those of later parts take another time than those of this
                one: in steps of this one; None: all others.
        """
        self.content |= {"step": step, "epoch": epoch}
        self.batch_size = batch_size
        self.end = step + (self.content["steps"] - step if left is None else left)
        self.filed = time.monotonic()
        self.seen: deque[tuple[float, int]] = deque()
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
        self.write("running")

    def cost(self) -> dict[str, Any]:
        """What the run has cost over all its starts, see `e2mc.provenance.cost`."""
        return cost(processes=self.processes, before=self.before)

    def write(self, status: str) -> None:
        """Write progress.json now."""
        self.content |= {"status": status, "cost": self.cost(), "updated": time.time()}
        write_json(self.path, self.content)

    def update(self, step: int, epoch: int, loss: Tensor | None = None) -> None:
        """So many steps and epochs are done; ``loss`` is shown."""
        self.content |= {"step": step, "epoch": epoch}
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
        now = time.monotonic()
        if not self.seen:  # the first step also starts workers and tunes kernels
            self.seen.append((now, step))
        if now - self.filed < FILE_SECONDS:
            return
        self.filed = now
        if step > self.seen[-1][1]:
            self._measure(now, step)
        self.write("running")
        if self.bar is not None:
            if loss is not None:
                self.bar.set_postfix(loss=f"{loss.item():.4g}")
        elif now - self.lined >= LINE_SECONDS and len(self.seen) > 1:
            self.lined = now
            print(self._line(loss), flush=True)

    def _measure(self, now: float, step: int) -> None:
        """The rate since the last time; the time left by the later half of what was seen."""
        rate = (step - self.seen[-1][1]) / (now - self.seen[-1][0])
        self.content["images_per_second"] = round(rate * self.batch_size, 1)
        self.seen.append((now, step))
        middle = (self.seen[0][0] + now) / 2
        while len(self.seen) > 2 and self.seen[1][0] <= middle:
            self.seen.popleft()
        then, first = self.seen[0]
        self.content["seconds_left"] = round((self.end - step) * (now - then) / (step - first))

    def _line(self, loss: Tensor | None) -> str:
        at = self.content
        shown = "" if loss is None else f"loss {loss.item():.4g}  "
        epoch = min(at["epoch"] + 1, at["epochs"])
        return (
            f"epoch {epoch}/{at['epochs']}  step {at['step']}/{at['steps']}  "
            f"{shown}{at['images_per_second']:.0f} images/s  {at['seconds_left']} s left"
        )


def _spent_before(path: Path, identity: str) -> dict[str, Any] | None:
    """Cost of the earlier starts of this run; None: there were none."""
    try:
        content = read_json(path)
        ours = content["identity"] == identity and content["status"] != "finished"
        return dict(content["cost"]) if ours else None
    except (E2MCError, KeyError, TypeError):
        return None


def _bar(steps: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=steps, unit="step", mininterval=0.5)


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
