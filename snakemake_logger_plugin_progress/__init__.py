"""`snakemake --logger progress`: one line that says how far it is, and errors in full.

Snakemake imports this module at every start, whatever it is to do.
"""

import logging
import sys
import time
from collections import Counter
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

LINE_SECONDS = 30.0
"""Between two lines where no terminal shows one line that changes."""
_FIRST_ESTIMATE = 0.05
"""Share of the jobs after which the time left is worth a word."""


class Pace:
    """How long the rest of the jobs will take, by the mean of those of the same rule.

    Args:
        planned: rule -> jobs.
        now: seconds on any clock.
    """

    def __init__(self, planned: dict[str, int], now: float) -> None:
        self.left = Counter(planned)
        self.total = self.left.total()
        self.began = now
        self.running: dict[int, tuple[str, float]] = {}
        self.seconds: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()

    def start(self, job: int, rule: str, now: float) -> None:
        """A job begins."""
        self.running[job] = (rule, now)

    def finish(self, job: int, now: float) -> None:
        """A job is done."""
        rule, began = self.running.pop(job, ("", now))
        self.seconds[rule] += now - began  # type: ignore[assignment]
        self.finished[rule] += 1
        self.left[rule] -= 1

    def seconds_left(self, now: float) -> float | None:
        """None: too little is known yet."""
        done = self.finished.total()
        elapsed = now - self.began
        if done < max(2, _FIRST_ESTIMATE * self.total) or not elapsed:
            return None
        spent = self.seconds.total()
        mean = {rule: self.seconds[rule] / count for rule, count in self.finished.items()}
        work = sum(count * mean.get(rule, spent / done) for rule, count in self.left.items())
        begun = sum(now - began for _, began in self.running.values())
        at_once = max((spent + begun) / elapsed, 0.1)
        return max(work - begun, 0.0) / at_once


class LogHandler(LogHandlerBase):
    """What Snakemake makes of `--logger progress`."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        from snakemake.logging import DefaultFormatter

        quiet, failed = self.common_settings.quiet, self.common_settings.show_failed_logs
        self.setFormatter(DefaultFormatter(quiet, failed))
        self.pace: Pace | None = None
        self.shown = ""
        self.said = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record of Snakemake, if it is worth showing."""
        try:
            self._take(record)
        except Exception:  # a log must not end what it tells of; logging prints the traceback
            self.handleError(record)

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        self._say("")
        super().close()

    def _take(self, record: Any) -> None:
        event, now = getattr(record, "event", None), time.monotonic()
        if event == LogEvent.RUN_INFO:
            planned = {rule: count for rule, count in record.stats.items() if rule != "total"}
            self.pace = self.pace or Pace(planned, now)
        elif event == LogEvent.JOB_INFO and self.pace:
            self.pace.start(record.jobid, record.rule_name, now)
            self._show(record.rule_msg or record.rule_name, now)
        elif event == LogEvent.JOB_FINISHED and self.pace:
            self.pace.finish(record.job_id, now)
            self._show("", now)
        elif record.levelno >= logging.WARNING or getattr(record, "plan", False) or _idle(record):
            self._say(self.format(record))

    def _show(self, what: str, now: float) -> None:
        pace = self.pace
        if pace is None:
            return
        done, left = pace.finished.total(), pace.seconds_left(now)
        line = f"{done} of {pace.total} jobs"
        if left is not None:
            line += f", about {_minutes(left)} left" if done < pace.total else ""
        if sys.stderr.isatty():
            line = f"{line}  {what}"[:99]
            sys.stderr.write(f"\r{line:<{len(self.shown)}}")
            self.shown = line
        elif now - self.said >= LINE_SECONDS or done == pace.total:
            self.said = now
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def _say(self, text: str) -> None:
        """Whole lines, under the one that changes."""
        end = "\n" if self.shown else ""
        self.shown = ""
        sys.stderr.write(f"{end}{text}\n" if text else end)
        sys.stderr.flush()


def _idle(record: logging.LogRecord) -> bool:
    """Whether Snakemake says that there is nothing to do."""
    from snakemake.common import NOTHING_TO_BE_DONE_MSG

    return bool(record.getMessage() == NOTHING_TO_BE_DONE_MSG)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
