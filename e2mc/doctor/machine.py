"""The machine: disk, GPUs, Slurm, packages."""

import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from e2mc.cluster.settings import CLUSTER_SETTINGS, load_cluster, site_file
from e2mc.cluster.slurm import COMMANDS, SlurmQueue
from e2mc.config.experiment import Experiment
from e2mc.doctor.findings import Finding, Level
from e2mc.errors import E2MCError
from e2mc.plan.estimate import estimate
from e2mc.plan.layout import results
from e2mc.plan.quantities import readable


def results_folder(
    experiment: Experiment, counts: dict[str, tuple[int, int]] | None
) -> Iterator[Finding]:
    """Whether results can be written, and whether they fit on the disk."""
    folder = results(experiment.name)
    parent = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=parent):
            yield Finding("ok", f"{folder} can be written")
    except OSError as error:
        yield Finding(
            "error",
            f"{folder} cannot be written: {error.strerror}",
            f"make {parent} writable, or link results/ to a disk that is",
        )
    needed, free = estimate(experiment, counts).bytes, shutil.disk_usage(parent).free
    if needed is None:
        yield Finding("ok", f"{readable(free)} free at {parent}")
        return
    there = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    what = (
        f"{readable(free)} free at {parent}; features and weights take at most {readable(needed)}"
    )
    what += f", of which {readable(there)} are there" if there else ""
    if needed - there < free:
        yield Finding("ok", what)
    else:
        yield Finding(
            "error",
            what,
            "link results/ to a larger disk, cache fewer views (evaluation.linear.views), or let "
            "fewer features lie there at a time (snakemake --resources features=1)",
        )


def devices(experiment: Experiment) -> Iterator[Finding]:
    """GPUs against the precision and size asked for."""
    import torch

    bases = experiment.bases
    asked = {experiment.training(base, scratch=False).precision for base in bases}
    asked |= {
        experiment.training(base, scratch=True).precision
        for base, one in bases.items()
        if one.checkpoint is None
    }
    half = sorted(asked - {"float32"})
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        names = {torch.cuda.get_device_name(index) for index in range(count)}
        what = (
            f"{count} GPU(s): {', '.join(sorted(names))}; `make test-gpu` checks what they compute"
        )
        yield Finding("ok", what)
        if "bfloat16" in half and not torch.cuda.is_bf16_supported(including_emulation=False):
            yield Finding(
                "error",
                "training in bfloat16 is asked for and these GPUs do not have it",
                "set methods.<method>.continued.precision to float16 or float32",
            )
    elif not (half or experiment.comparable):
        yield Finding("ok", "no GPU: this experiment runs on the CPU")
    else:
        wish = f"training in {' and '.join(half)}" if half else "an experiment of this size"
        bearable = shutil.which("sbatch") or not (experiment.comparable or "float16" in half)
        yield Finding(
            "warning" if bearable else "error",
            f"no GPU is visible here, and {wish} is made for one",
            "run on a machine with GPUs",
        )


def slurm(experiment: Experiment, settings: Path = CLUSTER_SETTINGS) -> Iterator[Finding]:
    """Slurm's commands, whether it answers, and whether it would accept a job of every stage."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if len(missing) == len(COMMANDS):
        yield Finding("ok", "no Slurm here: all stages run on this machine")
        return
    if missing:
        yield Finding(
            "error",
            f"Slurm is here, but not its {', '.join(missing)}",
            "load the site's Slurm module, or add its bin folder to PATH",
        )
        return
    if not settings.exists():
        yield Finding("ok", "Slurm's commands are here")
        return
    try:
        queue = SlurmQueue(load_cluster(settings))
    except E2MCError as error:
        yield Finding("error", str(error), "docs/cluster.md")
        return
    level: Level = "error" if experiment.comparable else "warning"
    if not queue.is_there():
        yield Finding(
            level,
            "Slurm's controller does not answer (scontrol ping)",
            "wait until it does, or ask the site's administrators; then run doctor again",
        )
        return
    if not queue.accounting_is_there():
        yield Finding(
            "warning",
            "Slurm's accounting (sacct) does not answer: the reason why a job ended may be missing",
            "nothing to do: squeue tells whether a job is alive",
        )
    yield from _stages(queue, site_file() or settings, level)


def _stages(queue: SlurmQueue, source: Path, level: Level) -> Iterator[Finding]:
    """Slurm's own judgement of every stage's partition, account, time, memory and GPUs."""
    requests: dict[str, list[str]] = {}
    for rule, stage in queue.cluster.stages.items():
        requests.setdefault(queue.request(stage), []).append(rule)
    objections: dict[str, list[str]] = {}
    for request, rules in requests.items():
        objections.setdefault(queue.objection(request) or "", []).extend(rules)
    accepted = objections.pop("", [])
    if accepted:
        yield Finding("ok", f"Slurm would accept jobs of {', '.join(accepted)}")
    for objection, rules in objections.items():
        yield Finding(
            level,
            f"Slurm would refuse jobs of {', '.join(rules)}: {objection}",
            f"set partition, account, time, memory or GPUs in {source}",
        )


def packages() -> Iterator[Finding]:
    """Installed versions against the ranges of pyproject.toml."""
    wrong = []
    for line in metadata.requires("e2mc") or ():
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": "pipeline"}):
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            installed = "none"
        if installed == "none" or not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} (needs {requirement.specifier})")
    if wrong:
        yield Finding(
            "error",
            f"packages: {', '.join(wrong)}",
            'pip install "e2mc[pipeline]" -c constraints.txt',
        )
    else:
        yield Finding("ok", "package versions are within the ranges of pyproject.toml")
