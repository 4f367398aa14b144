"""The door through which Snakemake finds `executor: submitit`; the room is `e2mc.cluster`."""

from dataclasses import dataclass, field

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from e2mc.cluster.executor import Executor

__all__ = ["Executor", "ExecutorSettings", "common_settings"]


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Options that Snakemake shows as `--submitit-...`."""

    settings: str = field(
        default="slurm/cluster.yaml", metadata={"help": "what a site says about its cluster"}
    )


common_settings = CommonSettings(
    non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False
)
