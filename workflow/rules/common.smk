import sys
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from e2mc.plan import head
from e2mc.config import parse_experiment, stages
from e2mc.config.protocols import PROTOCOLS, SEMISUP, transfer_datasets
from e2mc.errors import E2MCError
from e2mc.files import digest
from e2mc.plan import layout, needs
from e2mc.plan.jobs import EXTRACTIONS, jobs

# `e2mc` is installed beside this snakemake; that of an activated conda environment goes first.
shell.prefix(f"PATH=$PATH:{Path(sys.executable).parent}; ")

try:
    experiment = parse_experiment(config, "the configuration")
except E2MCError as error:
    raise WorkflowError(str(error)) from None

RESULTS = str(layout.results(experiment.name))
CONFIG = f"{RESULTS}/{layout.EXPERIMENT}"

say = partial(logger.info, extra=head.PLAN)
logger.addFilter(head.estimate_filter(experiment, workflow, say))


wildcard_constraints:
    base="|".join(experiment.bases),
    criterion=r"[A-Za-z0-9.-]+",
    trial=r"\d+",
    dataset="|".join(experiment.data.transfer) or "none",
    table="|".join((*needs.TABLE_NAMES, "reproduction")),
    figure="|".join(needs.FIGURE_NAMES),
    page="|".join(needs.pages(experiment)),


def start_head():
    try:
        head.start(experiment)
    except E2MCError as error:
        raise WorkflowError(str(error)) from None


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


def model_of(wildcards):
    return path(layout.CHECKPOINT if wildcards.criterion == "base" else layout.MODEL)


def index_of(dataset, split):
    return path(layout.indices(dataset)[split == "test"])


def result_files(protocol, pattern):
    """One per result of the protocol; the folder tree is a wildcard."""
    folders = protocol.folders(experiment.evaluation, "{dataset}")
    return [path(pattern.replace("{protocol}", folder)) for folder in folders]


def results_of(protocol):
    """Named outputs."""
    patterns = {"metrics": layout.METRICS, "predictions": layout.PREDICTIONS}
    if protocol.curve:
        patterns["curves"] = layout.CURVE
    return {name: result_files(protocol, pattern) for name, pattern in patterns.items()}


def folder_of(protocol):
    """The folder of its one result, or that of all of them."""
    several = protocol.variants(experiment.evaluation)
    return path(
        layout.EVALUATION if several else f"{layout.EVALUATION}/{protocol.stage}"
    )


def job_of(protocol):
    return layout.JOB if protocol.dataset else f"{layout.JOB}-{{dataset}}"


def table_inputs(wildcards):
    return [path(file) for file in needs.table_files(experiment, wildcards.table)]


def figure_inputs(wildcards):
    return [path(file) for file in needs.figure_files(experiment, wildcards.figure)]


def page_inputs(wildcards):
    return [path(file) for file in needs.page_files(experiment, wildcards.page)]


def summary_inputs(wildcards):
    """All that says what it cost, but for features, which may be deleted when all is done."""
    found = [job.records for job in jobs(experiment) if job.stage not in EXTRACTIONS]
    return [path(record) for records in found for record in records]


def page_category(wildcards):
    if wildcards.page == "overview":
        return "Overview"
    return "Tests" if wildcards.page in needs.STATISTICS_NAMES else "Tables"
