"""`e2mc status`: what every job of an experiment is doing, as plain text of 100 columns."""

import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from e2mc.cluster.records import SUBMITTING
from e2mc.config import Experiment, load_experiment
from e2mc.errors import E2MCError
from e2mc.plan import layout
from e2mc.plan.estimate import estimate
from e2mc.plan.jobs import STAGES
from e2mc.plan.quantities import duration
from e2mc.status.states import STATES, Status, head_of, statuses

WIDTH = 100
LISTED = ("running", "queued", "unmonitored", "interrupted", "failed")
"""States whose jobs are shown one by one; of the others there may be hundreds."""
SILENT_SECONDS = 300.0
"""After so long without a word a training's speed says nothing any more."""
_TIE = "\N{NO-BREAK SPACE}"
LOGS = 5
"""Failed jobs whose last words are shown: the same mistake often fails them all."""


def report(config: Path | None, *, everything: bool = False) -> str:
    """The state of one experiment, or of all that have been started here.

    Args:
        config: the experiment; None: every one under `results/`, else the demo.
        everything: also list the jobs that are done or not started.

    Raises:
        E2MCError: no such experiment.
    """
    if config is not None:
        return _experiment(load_experiment(config), everything)
    started = sorted(layout.results("*").parent.glob(f"*/{layout.EXPERIMENT}"))
    if not started:
        demo = Path("config/demo.yaml")
        if not demo.exists():
            raise E2MCError(
                f"nothing has been started in {Path.cwd()}: there is no results/*/"
                f"{layout.EXPERIMENT}. Go to the folder in which snakemake was started, or name "
                "the experiment with --config"
            )
        return _experiment(load_experiment(demo), everything)
    return "\n\n".join(_started(path, everything) for path in started)


def _started(path: Path, everything: bool) -> str:
    """One of several experiments: a damaged one must not hide the others."""
    try:
        return _experiment(load_experiment(path), everything)
    except E2MCError as error:
        return f"{path.parent.name}: {error}"


def _experiment(experiment: Experiment, everything: bool) -> str:
    results = layout.results(experiment.name)
    found = statuses(experiment, results)
    head = head_of(results)
    working = f"snakemake is at work: {head}" if head else "no snakemake is at work"
    left = estimate(experiment, only={one.job.log for one in found if one.state != "done"}).hours
    to_come = [f"to come: about {left}"] if left else []
    lines = [f"{experiment.name}: {_counted(found)}", working, *to_come, "", *_table(found)]
    for state in STATES:
        of_state = [status for status in found if status.state == state]
        if of_state and state in LISTED:
            lines += ["", state, *_listed(of_state, results)]
        elif of_state and everything:
            lines += ["", state, *(f"  {_label(status)}" for status in of_state)]
    return "\n".join(lines)


def _counted(found: list[Status]) -> str:
    count = Counter(status.state for status in found)
    others = [f", {count[state]} {state}" for state in STATES[1:] if count[state]]
    return f"{count['done']} of {len(found)} jobs done{''.join(others)}"


def _table(found: list[Status]) -> Iterator[str]:
    """A line per stage, a column per state that occurs."""
    count = Counter((status.job.stage, status.state) for status in found)
    shown = [state for state in STATES if any(status.state == state for status in found)]
    name = max(map(len, STAGES))
    yield f"  {'stage':<{name}}" + "".join(f"  {state}" for state in shown)
    for stage in STAGES:
        cells = {state: count[stage, state] or "-" for state in shown}
        if set(cells.values()) != {"-"}:
            columns = (f"  {cell:>{len(state)}}" for state, cell in cells.items())
            yield f"  {stage:<{name}}" + "".join(columns)


def _listed(found: list[Status], results: Path) -> Iterator[str]:
    """A line per job, more if it needs them; for those that failed their last words."""
    for number, status in enumerate(found):
        facts = [fact.replace(" ", _TIE) for fact in _facts(status)]
        facts += [status.note] if status.note else []
        line = f"  {_label(status)}  {', '.join(facts)}"
        wrapped = textwrap.wrap(line, WIDTH, subsequent_indent=" " * 6, break_on_hyphens=False)
        yield from (part.replace(_TIE, " ") for part in wrapped)
        if status.state == "failed":
            yield f"      {results / status.job.log}"
            for words in status.tail if number < LOGS else ():
                yield f"      | {words}"[:WIDTH]


def _label(status: Status) -> str:
    return f"{status.job.stage}/{status.job.name}"


def _facts(status: Status) -> Iterator[str]:
    progress, record, running = status.progress, status.record, status.state == "running"
    if progress.get("steps"):
        epochs = progress["epochs"]
        yield f"epoch {min(progress['epoch'] + 1, epochs)}/{epochs}"
        yield f"step {progress['step']:,}/{progress['steps']:,}"
        if running and progress["status"] == "running":
            yield from _speed(progress)
    yield from _place(status)
    if record is not None and status.state == "unmonitored":
        yield f"{record.state} when a snakemake last looked, {_since(record.seen)} ago"
    elif record is not None and status.state == "queued":
        submitted = record.submitted if record.state != SUBMITTING else None
        yield record.state + (f" for {_since(submitted)}" if submitted else "")
    restarts = max(progress.get("cost", {}).get("restarts", 0), record.restarts if record else 0)
    if restarts:
        yield f"{restarts} restart{'s' if restarts > 1 else ''}"


def _speed(progress: Mapping[str, Any]) -> Iterator[str]:
    if time.time() - progress["updated"] > SILENT_SECONDS:
        yield f"silent for {_since(progress['updated'])}"
    elif progress["images_per_second"] is not None:
        yield f"{progress['images_per_second']:,.0f} images/s"
        yield f"{duration(progress['seconds_left'])} left"


def _place(status: Status) -> Iterator[str]:
    """Slurm's job and its nodes; elsewhere the machine."""
    progress, record = status.progress, status.record
    job = progress.get("cost", {}).get("slurm_job")
    if record is not None:
        job = record.job_id if record.state != SUBMITTING else None
    where = record.where if record else progress.get("host")
    on = f"on {where}" if where and status.state == "running" else ""
    if job:
        yield f"job {job} {on}".strip()
    elif on:
        yield on


def _since(moment: float) -> str:
    return duration(max(0.0, time.time() - moment))
