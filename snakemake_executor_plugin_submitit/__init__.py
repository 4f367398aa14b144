"""Registers the `submitit` executor; `e2mc.cluster` is imported only when it is used.

Snakemake imports this module at every start, whatever it is to do.
"""

from dataclasses import dataclass, field
from typing import Any

from snakemake_interface_common.exceptions import ApiError
from snakemake_interface_executor_plugins.executors.base import AbstractExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase


class Executor(AbstractExecutor):
    """Makes an `e2mc.cluster.executor.Executor`."""

    def __new__(cls, workflow: Any, logger: Any) -> Any:  # noqa: D102
        from e2mc.cluster import executor

        return executor.Executor(workflow, logger)


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Options that Snakemake shows as `--submitit-...`."""

    settings: str = field(
        default="slurm/cluster.yaml", metadata={"help": "what a site says about its cluster"}
    )

    def __post_init__(self) -> None:
        """Also a dry run, which has another executor, names the mistakes of a site's file."""
        from e2mc.cluster.settings import load_cluster
        from e2mc.errors import E2MCError

        try:
            load_cluster(self.settings)
        except E2MCError as error:
            raise ApiError(str(error)) from None


common_settings = CommonSettings(
    non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False
)
