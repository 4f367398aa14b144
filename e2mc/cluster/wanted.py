"""What Snakemake wants of the cluster: its jobs as records, and whether an earlier one will do."""

from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from e2mc.cluster.records import SETTLED, SUBMITTING, Record, fingerprint, job_name
from e2mc.cluster.results import outcome
from e2mc.cluster.settings import Cluster, Stage
from e2mc.errors import E2MCError


def check_stages(cluster: Cluster, workflow: Any) -> None:
    """Refuse what would only fail when the first job of a rule is ready.

    Raises:
        E2MCError: a stage without a rule, or a rule without a stage.
    """
    given = workflow.executor_settings.settings
    rules = {rule.name for rule in workflow.rules}
    needed = {job.rule.name for job in workflow.dag.needrun_jobs() if not job.is_local}
    for wrong in sorted(set(cluster.stages) - rules):
        known = ", ".join(sorted(rules))
        raise E2MCError(f"{given}: stages.{wrong}: no such rule; rules: {known}")
    for missing in sorted(needed - set(cluster.stages)):
        raise E2MCError(f"{given}: say under `stages` what a job of {missing} takes")


def log_of(job: Any) -> str:
    """The one log of a Snakemake job, which names its record."""
    return str(job.log[0])


def describe(job: Any, stage: Stage) -> Record:
    """A Snakemake job as a record, not submitted yet.

    Raises:
        WorkflowError: the rule's command does not end with the redirection into its log, which
            the cluster's job does itself, appending over restarts.
    """
    log = log_of(job)
    redirection = f" > {log} 2>&1"
    command = job.shellcmd.strip()
    if not command.endswith(redirection):
        raise WorkflowError(f"rule {job.rule.name}: its command must end with `> {{log}} 2>&1`")
    command = command.removesuffix(redirection)
    return Record(
        rule=job.rule.name,
        name=job_name(log),
        command=command,
        fingerprint=fingerprint(command, dict(job.params.items()), [*job.input]),
        log=log,
        tasks=stage.processes,
        gpus=stage.nodes * stage.gpus,
        nodes=stage.nodes,
    )


def is_useful(earlier: Record, wanted: Record, job: Any) -> bool:
    """Whether an earlier head's job is the wanted one, and runs or has left what is wanted."""
    if earlier.state in (*SETTLED, SUBMITTING) or earlier.fingerprint != wanted.fingerprint:
        return False
    result = outcome(earlier)
    if result is None:
        return True
    return result.error is None and all(Path(file).exists() for file in job.output)
