"""What a site says about its cluster: `slurm/cluster.yaml`, and what overrides it."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from e2mc.config.protocols import PROTOCOLS
from e2mc.config.strict import Strict, overlay, validated
from e2mc.config.yaml_file import read_mapping
from e2mc.errors import E2MCError

CLUSTER_SETTINGS = Path("slurm/cluster.yaml")
"""The repository's file."""

SITE_VARIABLE = "E2MC_CLUSTER"
"""Environment variable that names the site's own file, outside the repository."""

SITE_FILE = Path("~/.config/e2mc/cluster.yaml")
"""The site's own file where the variable is not set."""

ONE_PROCESS = ("import_checkpoint", *(one.stage for one in PROTOCOLS if not one.distributed))
"""Rules whose work is not divided among processes."""


_ELSEWHERE = {
    **{key: f"say `{key}` beside `options`" for key in ("partition", "account", "qos")},
    "constraint": "say `constraint` beside `options`",
    "clusters": "say `cluster` at the top of the file: all jobs go to one cluster",
    "time": "say `hours` of the stages",
    "nodes": "say `nodes` of the stages",
    "cpus-per-task": "say `cpus` of the stages",
    "signal": "say `warning_seconds` at the top of the file",
    **dict.fromkeys(("ntasks", "ntasks-per-node"), "say `gpus` and `nodes` of the stages"),
    **dict.fromkeys(
        ("job-name", "comment", "chdir", "output", "error", "open-mode", "array", "wrap"),
        "jobs are found again by it, so it cannot be chosen",
    ),
    **dict.fromkeys(("parsable", "test-only", "wait", "quiet"), "it concerns sbatch alone"),
}
"""Options of sbatch that a partition cannot have, each with what to do instead."""


class Partition(Strict):
    """Where jobs of one kind go; a null key uses Slurm's own default."""

    partition: str | None = None
    """Slurm partition."""
    account: str | None = None
    """Account that is charged."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Node features, as in `sbatch --constraint`."""
    gpu_type: str | None = None
    """Type of GPU, as in `sbatch --gpus-per-node=a100:2`."""
    gpu_option: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    """How GPUs are asked for; `gres` where a site takes `--gres=gpu:2` alone."""
    gpu_memory_gb: float | None = Field(None, gt=0)
    """Memory of one of its GPUs, which `e2mc doctor` compares with what trainings need."""
    options: dict[str, str | int | bool] = {}
    """Any further option of sbatch, by its long name: `{reservation: deadline, nice: 100}`. It goes
    before what is said elsewhere; `false` removes an option."""

    @field_validator("options")
    @classmethod
    def _long_names(cls, options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        """Hyphens and underscores mean the same, as everywhere in these files."""
        found: dict[str, str | int | bool] = {}
        for given, value in options.items():
            name = given.strip("-_").replace("_", "-")
            if len(name) < 2:
                raise ValueError(f"'{given}': write the long name of the option")
            if name in _ELSEWHERE:
                raise ValueError(f"'{given}': {_ELSEWHERE[name]}")
            if name in found:
                raise ValueError(f"'{given}' is there twice, with hyphens and with underscores")
            found[name] = value
        return found


class Stage(Strict):
    """What one job of a rule takes."""

    partition: str
    """A name under `partitions`."""
    nodes: int = Field(1, ge=1)
    """Nodes; above one, their processes meet through torch.distributed."""
    gpus: int = Field(0, ge=0)
    """GPUs per node, one process each; 0: one process per node, on the CPU."""
    cpus: int = Field(1, ge=1)
    """CPUs per process."""
    memory_gb: float | None = Field(gt=0)
    """Memory per node; null: what Slurm, or `mem-per-cpu` under `options`, gives."""
    hours: float = Field(gt=0)
    """Time limit. Training, fine-tuning and extraction go on where they stopped and may be short;
    the other stages begin again."""
    timeouts: int = Field(3, ge=0)
    """How often the time limit may be reached before the job counts as failed."""

    @property
    def processes(self) -> int:
        """Processes in all."""
        return self.nodes * max(1, self.gpus)


class Cluster(Strict):
    """One cluster, or this machine."""

    backend: Literal["slurm", "local"] = "slurm"
    """`local`: the same jobs as processes of this machine, through submitit's local executor."""
    cluster: str | None = Field(None, pattern=r"^[\w.-]+$")
    """Name of the cluster, where one login node serves several; null: this node's own, or the one
    that the environment variable SLURM_CLUSTERS names."""
    partitions: dict[str, Partition]
    """Name used below -> where its jobs go."""
    stages: dict[str, Stage]
    """Name of the rule -> what its jobs take."""
    setup: list[str] = []
    """Shell lines run on the node before the job: `module load cuda`."""
    python: str | None = None
    """Command that starts Python on the nodes, for containers; null: the same Python as here."""
    warning_seconds: int = Field(120, ge=1)
    """How long before the time limit a job is told to save its state and queue again."""
    poll_seconds: float = Field(15, gt=0)
    """How often Slurm is asked, once for all jobs."""
    patience_seconds: float = Field(30, gt=0)
    """How long the result of an ended job may take to appear on a shared file system, and squeue to
    show a job. One that neither squeue nor sacct knows is waited for ten times as long."""
    resubmissions: int = Field(3, ge=0)
    """How often a job that Slurm lost (its node failed, say) is submitted again."""

    @model_validator(mode="after")
    def _consistent(self) -> "Cluster":
        for rule, stage in self.stages.items():
            if stage.partition not in self.partitions:
                known = ", ".join(self.partitions)
                raise ValueError(
                    f"stages.{rule}.partition: no '{stage.partition}' under partitions ({known})"
                )
            if rule in ONE_PROCESS and stage.processes > 1:
                raise ValueError(
                    f"stages.{rule}: runs in one process: nodes: 1, and gpus: 1 at most"
                )
            if stage.hours * 3600 <= self.warning_seconds:
                raise ValueError(f"stages.{rule}.hours: no longer than warning_seconds")
            if self.backend == "local" and (stage.nodes > 1 or self.setup):
                raise ValueError("backend local: one node, and no setup")
        return self


def load_cluster(path: Path | str) -> Cluster:
    """Read the repository's file and lay the site's own over it, key by key.

    Raises:
        E2MCError: a file cannot be read or is not valid; every mistake with its key.
    """
    content: Any = read_mapping(path)
    source = str(path)
    site = site_file()
    if site is not None:
        content = overlay(content, read_mapping(site))
        source = f"{site} over {path}"
    return validated(Cluster, content, source, "docs/cluster.md")


def site_file() -> Path | None:
    """The site's own file, if there is one."""
    named = os.environ.get(SITE_VARIABLE)
    if named is None:
        site = SITE_FILE.expanduser()
        return site if site.exists() else None
    site = Path(named).expanduser()
    if not site.exists():
        raise E2MCError(f"{site}, named by the environment variable {SITE_VARIABLE}, is not there")
    return site
