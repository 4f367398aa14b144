"""The head: the one snakemake that is at work on an experiment, and what it tells the user."""

import atexit
import fcntl
import os
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from e2mc import warm
from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.files import write_text
from e2mc.lock import locked
from e2mc.plan import layout, needs, recorded

PLAN = {"plan": True}
"""Marks the log record of the estimate, which every way of showing the log shows."""


def start(experiment: Experiment) -> None:
    """Be the head until this process ends, and write the effective configuration.

    A second head would unlock and overwrite the first one's jobs. The flock is inherited by the
    jobs on purpose, so that the orphans of a killed head finish or die before another head starts.
    It does nothing on some shared file systems: a head on another login node is seen by the lock
    file beside it.

    Raises:
        E2MCError: another head, or a job that one left behind, is at work.
    """
    results = layout.results(experiment.name)
    inherited = _alone(results)
    if inherited is None:
        raise E2MCError(
            f"another snakemake, or a job that one left behind, is at work on {results}; "
            "wait for it or stop it, then start again"
        )
    os.set_inheritable(inherited, True)
    held = ExitStack()
    try:
        held.enter_context(locked(results / layout.HEAD_LOCK, wait=False))
    except E2MCError as error:
        os.close(inherited)
        raise E2MCError(f"another snakemake is at work: {error}") from None
    atexit.register(held.close)
    if os.environ.get(warm.WANTED):
        atexit.register(warm.start().end)
    effective = experiment.model_dump(mode="json")
    write_text(results / layout.EXPERIMENT, yaml.safe_dump(effective, sort_keys=False))


def _alone(results: Path) -> int | None:
    """The flock of a results folder, held; None: somebody else is at work there.

    Raises:
        E2MCError: the folder cannot be written.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(results / layout.HEAD_FLOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise E2MCError(
            f"cannot write in {results}: {error.strerror}; it must be a folder of yours"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def recheck(experiment: Experiment, workflow: Any, say: Callable[[str], None]) -> None:
    """Before anything is planned: set results aside that are damaged or of other settings.

    Snakemake goes by times, and by what it remembers in `.snakemake`: of a result that was copied
    here, or whose bytes changed, it sees nothing. What is set aside is made again, with all that
    depends on it. A dry run says so, changes nothing, and does not count it in its plan. Where
    somebody is at work, and where there are no results, there is nothing to do.

    Args:
        experiment: the experiment.
        workflow: Snakemake's.
        say: is given a line per result.
    """
    results = layout.results(experiment.name)
    if not workflow.is_main_process or not results.is_dir():
        return
    dry = workflow.output_settings.dryrun
    alone = None if dry else _alone(results)
    if alone is None and not dry:
        return
    try:
        faults = recorded.damaged(results)
        if not faults:
            faults = recorded.other_settings(experiment, results, needs.all_inputs(experiment))
        for fault in faults:
            say(f"{results / fault.record} {fault.problem}: it will be made again.")
        if alone is not None:
            recorded.set_aside(results, faults)
            if faults:
                say(f"The old files are kept beside, their names end with `{recorded.ASIDE}`.")
    finally:
        if alone is not None:
            os.close(alone)


def calm(scheduler: Any) -> None:
    """Take Snakemake's default limit of 100 jobs a second away; one that a user sets stays.

    Under a limit, Snakemake 9's scheduler goes through all waiting jobs again a second after it has
    done so, and once more for every job that has ended: hundreds of times a second late in a run, a
    tenth of the demo's processor time, and a core of a login node.

    Args:
        scheduler: Snakemake's, before it has begun.
    """
    limiter = getattr(scheduler, "job_rate_limiter", None)
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == (100, 1):
        scheduler.job_rate_limiter = None


def estimate_filter(
    experiment: Experiment, workflow: Any, say: Callable[[str], None]
) -> Callable[[Any], bool]:
    """A log filter that says an estimate before Snakemake's table of jobs.

    Only a log record tells whether Snakemake is about to run jobs, or to show which ones it would
    run: the Snakefile is also read by every job, for `--lint`, `--dag`, `--report` and the like.
    A dry run of hundreds of jobs lists them only with `--verbose`.

    Args:
        experiment: the experiment.
        workflow: Snakemake's.
        say: is given the line.
    """
    from snakemake_interface_logger_plugins.common import LogEvent

    tables = count()
    results = layout.results(experiment.name)

    def passes(record: Any) -> bool:
        event = getattr(record, "event", None)
        brief = workflow.dryrun and not workflow.output_settings.verbose
        if event != LogEvent.RUN_INFO:
            of_one = event == LogEvent.JOB_INFO or str(record.msg).startswith("Would remove")
            return not (brief and of_one)
        if next(tables):
            return not brief
        from e2mc.plan.estimate import estimate

        todo = list(workflow.dag.needrun_jobs(exclude_finished=False))
        logs = {log.removeprefix(f"{results}/") for job in todo for log in job.log}
        say(f"{len(todo)} jobs: {estimate(experiment, only=logs)}.")
        return True

    return passes


def summary(experiment: Experiment) -> str:
    """What was found and what to do next, for the screen; nothing if only a part has been made."""
    results = layout.results(experiment.name)
    file = results / layout.SUMMARY
    if not file.exists():
        return ""
    found = file.read_text(encoding="utf-8").rstrip("\n")
    page = results / layout.FRONT_PAGE
    look = f"open {page} in a browser" if page.exists() else f"look into {results}/tables"
    return (
        f"\n{found}\n\nNext: {look}; change a key of the configuration (config/README.md) and "
        "start again:\nonly what depends on it is computed; docs/criteria.md has the criterion for "
        "your own training loop.\n"
    )


def log_of_this_process() -> Path | None:
    """The log of a job, if that is where standard output goes."""
    try:
        log = Path("/proc/self/fd/1").readlink()
    except OSError:
        return None
    return log if log.parent.parent.name == layout.LOGS and log.is_file() else None
