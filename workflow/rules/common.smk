import shlex
import sys
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from e2mc.plan import head
from e2mc.config import parse_experiment, stages
from e2mc.config.protocols import PROTOCOLS, SNAPSHOTS, transfer_datasets
from e2mc.errors import E2MCError
from e2mc.files import digest
from e2mc.plan import layout, needs
from e2mc.plan.jobs import EXTRACTIONS, FEATURES_AT_ONCE, jobs
from e2mc.reporting.names import FIGURES

# `e2mc` is installed beside this snakemake; that of an activated conda environment goes first.
shell.prefix(f"PATH=$PATH:{shlex.quote(str(Path(sys.executable).parent))}; ")

try:
    experiment = parse_experiment(config, "the configuration", workflow.configfiles)
    head.recheck(experiment, workflow, logger.warning)
except E2MCError as error:
    # a WorkflowError would name this file and line, not the configuration's
    sys.exit(str(error))

RESULTS = str(layout.results(experiment.name))
CONFIG = f"{RESULTS}/{layout.EXPERIMENT}"

say = partial(logger.info, extra=head.PLAN)
logger.addFilter(head.estimate_filter(experiment, workflow, say))


# A bound on the cached features that lie on disk: each extraction and each protocol that reads
# features takes a slot, and protocols go first, so an extraction begins only while each set that
# is still needed has a job at work. `--resources features=8` sets another number of slots.
if "features" not in workflow.global_resources:
    workflow.register_resource("features", FEATURES_AT_ONCE)


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
    head.calm(workflow.scheduler)


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


def trajectories():
    """The models of Figure 4, as wildcards; without the figure there is none."""
    figure = experiment.figures.figure4
    return {
        "base": "|".join(figure.bases) if figure else "none",
        "criterion": "continued|e2mc",
        "trial": "|".join(map(str, range(figure.trials))) if figure else "none",
    }


def cached(dataset, split):
    return path(layout.cached(dataset)[split == "test"])


def temporary(features):
    """Folders that are deleted when everything that reads them is done."""
    folder = directory(features)
    return folder if experiment.evaluation.keep_features else temp(folder)


def result_files(protocol, pattern):
    """One per result of the protocol; the folder tree is a wildcard."""
    folders = protocol.folders(experiment, "{dataset}")
    return [path(pattern.replace("{protocol}", folder)) for folder in folders]


def results_of(protocol):
    """Named outputs."""
    patterns = {"metrics": layout.METRICS, "predictions": layout.PREDICTIONS}
    if protocol.curve:
        patterns["curves"] = layout.CURVE
    return {name: result_files(protocol, pattern) for name, pattern in patterns.items()}


def folder_of(protocol):
    """The folder of its one result, or that of all of them."""
    return path(
        layout.EVALUATION
        if protocol.variants
        else f"{layout.EVALUATION}/{protocol.stage}"
    )


def job_of(protocol):
    return layout.JOB if protocol.dataset else f"{layout.JOB}-{{dataset}}"


def table_inputs(wildcards):
    return [path(file) for file in needs.table_files(experiment, wildcards.table)]


def figure_inputs(wildcards):
    return [path(file) for file in needs.figure_files(experiment, wildcards.figure)]


def figures_beside(table):
    figures = needs.FIGURES_BESIDE.get(table, ())
    formats = needs.FIGURE_FORMATS
    return expand(path(layout.FIGURE), figure=figures, format=formats)


def figure_caption(wildcards):
    text = FIGURES[wildcards.figure]
    return f"{text.title}: {text.caption}"


def page_inputs(wildcards):
    return [path(file) for file in needs.page_files(experiment, wildcards.page)]


def front_page_inputs(wildcards):
    return [path(file) for file in needs.front_page_files(experiment)]


def results_of_jobs(wildcards):
    """What would be made again if it were missing: all but features."""
    found = [job.outputs for job in jobs(experiment) if job.stage not in EXTRACTIONS]
    return [path(file) for files in found for file in files]


def summary_inputs(wildcards):
    """All that says what it cost, but for features, which may be deleted when all is done."""
    found = [job.records for job in jobs(experiment) if job.stage not in EXTRACTIONS]
    return [path(record) for records in found for record in records]


def page_category(wildcards):
    if wildcards.page == "overview":
        return "Overview"
    return "Tests" if wildcards.page in needs.STATISTICS_NAMES else "Tables"
