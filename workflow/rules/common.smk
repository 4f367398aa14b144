import atexit
import fcntl
import os
import sys
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from e2mc.plan import layout
from e2mc.config import parse_experiment, stages
from e2mc.errors import E2MCError
from e2mc.files import digest, write_text
from e2mc.plan.jobs import jobs
from e2mc.lock import locked
from e2mc.plan import needs

# `e2mc` is installed beside this snakemake; that of an activated conda environment goes first.
shell.prefix(f"PATH=$PATH:{Path(sys.executable).parent}; ")

try:
    experiment = parse_experiment(config, "the configuration")
except E2MCError as error:
    raise WorkflowError(str(error)) from None

RESULTS = str(layout.results(experiment.name))
CONFIG = f"{RESULTS}/{layout.EXPERIMENT}"


head = ExitStack()
atexit.register(head.close)


wildcard_constraints:
    base="|".join(experiment.bases),
    criterion=r"[A-Za-z0-9.-]+",
    trial=r"\d+",
    table="|".join((*needs.TABLE_NAMES, "reproduction")),
    figure="|".join(needs.FIGURE_NAMES),
    page="|".join(needs.pages(experiment)),


def start_experiment():
    """One head per experiment: a second one would unlock and overwrite the first one's jobs.

    The lock is inherited by the jobs on purpose, so that the orphans of a killed head finish or
    die before another head starts.
    """
    Path(RESULTS).mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{RESULTS}/.head.lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(
            f"another snakemake, or a job that one left behind, is at work on {RESULTS}; "
            "wait for it or stop it, then start again"
        ) from None
    # flock does nothing on some shared file systems: a head on another login node is seen by this
    try:
        head.enter_context(locked(f"{RESULTS}/.head", wait=False))
    except E2MCError as error:
        raise WorkflowError(f"another snakemake is at work: {error}") from None
    effective = experiment.model_dump(mode="json")
    write_text(CONFIG, yaml.safe_dump(effective, sort_keys=False))


tables_of_jobs = count(1)


def say_what_it_takes(record):
    """Log filter: an estimate before the first table of jobs, in a dry run before the last.

    Only a log record tells whether Snakemake is about to run jobs, or to show which ones it would
    run: the Snakefile is also read by every job, for `--lint`, `--dag`, `--report` and the like.
    """
    if getattr(record, "event", None) == LogEvent.RUN_INFO:
        if next(tables_of_jobs) == (2 if workflow.dryrun else 1):
            from e2mc.plan.estimate import (
                estimate,
            )  # numpy and Pillow, at every other start for nothing

            todo = list(workflow.dag.needrun_jobs(exclude_finished=False))
            logs = {log.removeprefix(f"{RESULTS}/") for job in todo for log in job.log}
            logger.info(f"{len(todo)} jobs: {estimate(experiment, only=logs)}.")
    return True


logger.addFilter(say_what_it_takes)


def say_what_was_found():
    summary = Path(path(layout.SUMMARY))
    if summary.exists():
        print(summary.read_text())


def path(pattern):
    return f"{RESULTS}/{pattern}"


def log_of(stage, job):
    return path(layout.LOG.format(stage=stage, job=job))


def prepared_data(wildcards):
    return path(layout.DATA_READY) if experiment.data.prepare else []


def official_checkpoint(wildcards):
    """Trained here, a file of the user's, or a name in the registry."""
    base = experiment.bases[wildcards.base]
    if base.registered is not None:
        return layout.FETCHED.format(name=base.registered)
    return base.checkpoint or path(layout.SCRATCH)


def share_files(pattern, protocol, percents):
    return [
        path(pattern.replace("{protocol}", f"{protocol}-{share}")) for share in percents
    ]


def linear_files(pattern):
    return share_files(pattern, "linear", experiment.evaluation.linear.percents)


def semisup_files(pattern):
    return share_files(pattern, "semisup", experiment.evaluation.semisup.percents)


def model_of(wildcards):
    return path(layout.CHECKPOINT if wildcards.criterion == "base" else layout.MODEL)


def table_inputs(wildcards):
    return [path(file) for file in needs.table_files(experiment, wildcards.table)]


def figure_inputs(wildcards):
    return [path(file) for file in needs.figure_files(experiment, wildcards.figure)]


def page_inputs(wildcards):
    return [path(file) for file in needs.page_files(experiment, wildcards.page)]


def summary_inputs(wildcards):
    """All that says what it cost, but for features, which may be deleted when all is done."""
    found = [job.records for job in jobs(experiment) if job.stage != "features"]
    return [path(record) for records in found for record in records]


def page_category(wildcards):
    if wildcards.page == "overview":
        return "Overview"
    return "Tests" if wildcards.page in needs.STATISTICS_NAMES else "Tables"


def shown(cells):
    return stages.reporting_settings(
        experiment, [cell.base for cell in cells]
    ).model_dump_json()


def table_parameters(wildcards):
    return shown(needs.table_inputs(experiment, wildcards.table))


def figure_parameters(wildcards):
    return shown(needs.figure_inputs(experiment, wildcards.figure))


def statistics_parameters(wildcards):
    return shown(needs.statistics_inputs(experiment))


# Parameters are a rerun trigger: each `settings` is the slice of the configuration that the stage
# can see, so a changed key reruns what depends on it and nothing else.


def scratch_parameters(wildcards):
    return stages.scratch_settings(experiment, wildcards.base).model_dump_json()


def import_parameters(wildcards):
    return stages.import_settings(experiment, wildcards.base).model_dump_json()


def pretrain_parameters(wildcards):
    return stages.pretrain_settings(
        experiment, wildcards.base, wildcards.criterion, int(wildcards.trial)
    ).model_dump_json()


def extract_parameters(*datasets):
    def parameters(wildcards):
        return stages.extract_settings(
            experiment, wildcards.base, int(wildcards.trial), datasets
        ).model_dump_json()

    return parameters


def linear_parameters(wildcards):
    return stages.linear_settings(
        experiment, wildcards.base, int(wildcards.trial)
    ).model_dump_json()


def inat_parameters(wildcards):
    return stages.inat_settings(experiment, int(wildcards.trial)).model_dump_json()


def semisup_parameters(wildcards):
    return stages.semisup_settings(
        experiment, wildcards.base, int(wildcards.trial)
    ).model_dump_json()


def svm_parameters(wildcards):
    return stages.svm_settings(experiment, int(wildcards.trial)).model_dump_json()


def neighbour_parameters(wildcards):
    return stages.neighbour_settings(experiment, wildcards.base).model_dump_json()
