"""The one snakemake at work on an experiment, and what it says."""

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snakemake.cli import get_argument_parser
from snakemake.scheduling.job_scheduler import JobRateLimiter
from snakemake.settings.types import MaxJobsPerTimespan
from snakemake_interface_logger_plugins.common import LogEvent

from e2mc.config import Experiment, parse_experiment
from e2mc.plan import head, layout
from e2mc.plan.estimate import estimate
from e2mc.plan.jobs import jobs
from tests.small_experiment import small_experiment


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    return parse_experiment({**small_experiment(), "figures": {}}, "small")


HEAD = """
import sys
from e2mc.plan import head
from e2mc.config import parse_experiment
from tests.small_experiment import small_experiment
try:
    head.start(parse_experiment({**small_experiment(), "figures": {}}, "small"))
except Exception as error:
    sys.exit(str(error))
print("started", flush=True)
sys.stdin.read()
"""


def other_head() -> subprocess.Popen[str]:
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", HEAD], text=True, **pipes)


def test_there_is_one_head_until_it_ends(experiment: Experiment) -> None:
    results = layout.results(experiment.name)
    first = other_head()
    assert first.stdout is not None
    assert first.stdout.readline() == "started\n"
    written = yaml.safe_load((results / "experiment.yaml").read_text())
    assert parse_experiment(written, "written") == experiment
    second = other_head().communicate()[1]
    assert "another snakemake, or a job that one left behind, is at work on results/demo" in second
    first.communicate()
    assert not (results / ".head").exists()
    third = other_head()
    assert third.communicate()[0] == "started\n"


def test_a_head_on_another_login_node_is_seen_by_its_lock_file(experiment: Experiment) -> None:
    """Where flock does nothing, the file alone tells; its holder lives on this machine here."""
    code = (
        "import sys; from e2mc.lock import locked\n"
        "with locked('results/demo/.head'): print('held', flush=True); sys.stdin.read()"
    )
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    refused = other_head().communicate()[1]
    holder.communicate()
    assert "another snakemake is at work: results/demo is in use by process" in refused


@pytest.mark.parametrize(("dry", "verbose"), [(False, False), (True, False), (True, True)])
def test_the_estimate_is_said_once_before_the_table_of_jobs(
    experiment: Experiment, dry: bool, verbose: bool
) -> None:
    todo = [job for job in jobs(experiment) if job.stage in ("pretrain", "linear")]
    planned = [SimpleNamespace(log=[f"results/demo/{job.log}"]) for job in todo]
    dag = SimpleNamespace(needrun_jobs=lambda exclude_finished: iter(planned))
    said: list[str] = []
    output = SimpleNamespace(verbose=verbose)
    workflow = SimpleNamespace(dryrun=dry, dag=dag, output_settings=output)
    passes = head.estimate_filter(experiment, workflow, said.append)
    plain = logging.makeLogRecord({"msg": "anything"})
    table = logging.makeLogRecord({"event": LogEvent.RUN_INFO})
    job = logging.makeLogRecord({"event": LogEvent.JOB_INFO})
    listed = verbose or not dry
    assert passes(plain)
    assert said == []
    assert passes(table)
    assert passes(job) == listed
    assert passes(table) == listed  # a dry run ends with the same table once more
    wanted = estimate(experiment, only=[job.log for job in todo])
    assert (wanted.training_runs, wanted.evaluations) == (2, 3)
    assert said == [f"{len(todo)} jobs: {wanted}."]


def test_the_summary_is_shown_if_there_is_one(experiment: Experiment) -> None:
    assert head.summary(experiment) == ""
    file = layout.results(experiment.name) / layout.SUMMARY
    file.parent.mkdir(parents=True)
    file.write_text("E2MC is clearly above.")
    assert "E2MC is clearly above.\n\nNext: look into results/demo/tables" in head.summary(
        experiment
    )
    (file.parent / "index.html").touch()
    assert "Next: open results/demo/index.html" in head.summary(experiment)


@pytest.mark.parametrize(
    ("file", "seen"), [("logs/linear/a.log", True), ("a.log", False), ("linear/a.log", False)]
)
def test_a_process_knows_the_log_it_writes(tmp_path: Path, file: str, seen: bool) -> None:
    log = tmp_path / file
    log.parent.mkdir(parents=True, exist_ok=True)
    code = "import sys; from e2mc.plan.head import log_of_this_process as log; "
    code += "sys.stderr.write(str(log()))"
    with log.open("w") as stream:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True)
    assert done.stderr == (str(log) if seen else "None")


LIMITS = [("100/1s", None), ("1/1s", (1, 1)), ("100/1m", (100, 60)), (None, None)]


@pytest.mark.parametrize(("given", "kept"), LIMITS)
def test_only_snakemakes_default_limit_goes(
    given: str | None, kept: tuple[int, int] | None
) -> None:
    limit = None if given is None else JobRateLimiter(MaxJobsPerTimespan.parse_choice(given))
    scheduler = SimpleNamespace(job_rate_limiter=limit)
    head.calm(scheduler)
    left = scheduler.job_rate_limiter
    assert (left and (left.max_jobs, left.timespan)) == kept


def test_that_is_what_snakemake_limits_to_by_itself() -> None:
    default = get_argument_parser().get_default("max_jobs_per_timespan")
    limiter = JobRateLimiter(MaxJobsPerTimespan.parse_choice(default))
    scheduler = SimpleNamespace(job_rate_limiter=limiter)
    head.calm(scheduler)
    assert scheduler.job_rate_limiter is None
