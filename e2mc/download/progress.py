"""Progress of a transfer: a bar on a terminal, a plain line every few seconds in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_SECONDS = 5.0


@contextmanager
def progress(name: str, total: int | None, start: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield a function to be called with the position reached, in bytes.

    Args:
        name: what is transferred.
        total: length in bytes; None: unknown.
        start: position at which the transfer begins.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True) as bar:

            def move(position: int) -> None:
                bar.update(position - bar.n)

            yield move
        return
    began = shown = time.monotonic()

    def line(position: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= LINE_SECONDS:
            shown = now
            share = f" of {total / 1e6:.1f} MB ({position / total:.0%})" if total else " MB"
            speed = (position - start) / 1e6 / (now - began)
            print(f"{name}: {position / 1e6:.1f}{share}, {speed:.1f} MB/s", file=sys.stderr)

    yield line
