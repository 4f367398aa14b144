"""Everything that would otherwise fail after hours, each finding with its remedy."""

from e2mc.config.experiment import Experiment
from e2mc.doctor import inputs, machine, memory
from e2mc.doctor.findings import Finding, report
from e2mc.doctor.hours import Measure, benchmark
from e2mc.plan.estimate import estimate

__all__ = ["Finding", "examine", "report", "run"]


def run(experiment: Experiment, all_images: bool = False, measure: Measure | None = None) -> int:
    """Examine, print, and return the exit status: 1 if there is an error.

    Args:
        experiment: what is to be run.
        all_images: decode every image instead of a few of each data set and split.
        measure: with what the machine is measured; None: it is not.

    Raises:
        E2MCError: it cannot be measured, since data are missing.
    """
    print(f"{experiment.name}: {estimate(experiment)}.\n")
    findings = examine(experiment, all_images=all_images)
    print(report(findings), flush=True)
    if measure is not None:
        print()
        for line in benchmark(experiment, measure):
            print(line, flush=True)
    return int(any(finding.level == "error" for finding in findings))


def examine(experiment: Experiment, *, all_images: bool = False) -> list[Finding]:
    """Look at data sets, label lists, checkpoints, disk, devices, Slurm and packages.

    Args:
        experiment: what is to be run.
        all_images: decode every image instead of a few of each data set and split.
    """
    counts, data = inputs.data_sets(experiment, all_images)
    return [
        *data,
        *inputs.checkpoints(experiment),
        *machine.results_folder(experiment, counts),
        *machine.devices(experiment),
        *memory.gpus(experiment),
        *memory.loaders(experiment),
        *machine.slurm(experiment),
        *machine.packages(),
    ]
