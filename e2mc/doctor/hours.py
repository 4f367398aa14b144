"""What an experiment takes on this machine, as measured, and on others, as far as known."""

from collections.abc import Callable, Iterator

from e2mc.config.experiment import Experiment
from e2mc.doctor.inputs import Counts, data_sets
from e2mc.errors import E2MCError
from e2mc.plan.estimate import estimate
from e2mc.plan.quantities import duration, readable
from e2mc.plan.speeds import MEASURED, PAPER, Speeds, keep, known
from e2mc.plan.work import UNITS, total

Measure = Callable[[Experiment, Counts], Speeds]
"""`e2mc.evaluation.speed.measure`."""


def benchmark(experiment: Experiment, measure: Measure) -> Iterator[str]:
    """Measure, keep what was measured for later estimates, and say what follows from it.

    Raises:
        E2MCError: the experiment's data are not complete.
    """
    counts, _ = data_sets(experiment, all_images=False)
    if counts is None:
        raise E2MCError(
            "--benchmark works on the experiment's own images, and they are not all there: see the "
            "findings above (data that the project writes itself: snakemake prepare)"
        )
    measured = measure(experiment, counts)
    keep(experiment, measured, counts)
    found = estimate(experiment, counts)
    yield f"One {measured.machine}, measured now and kept in {MEASURED}:"
    for kind, rate in measured.rates.items():
        unit = UNITS[kind.partition(" ")[0]]
        text = f"{rate:,.0f} images" if unit == "images" else readable(rate)
        yield f"  {kind:<28}{text:>18} per second"
    yield ""
    yield "All jobs of a stage, from nothing:"
    for stage, hours in found.stage_hours.items():
        yield f"  {stage:<28}{duration(3600 * hours):>18}"
    yield f"  {'SVMs, neighbours, tables':<28}{'minutes of a CPU':>18}"
    yield ""
    yield from _types(experiment, counts)


def _types(experiment: Experiment, counts: Counts) -> Iterator[str]:
    """Both halves of the work, machine by machine."""
    yield f"  {'all of it on one':<40}{'training':>12}{'evaluation':>12}"
    parts = total(experiment, counts)
    for speeds in known(experiment):
        times = [speeds.seconds(part) for part in parts]
        if any(time is not None for time in times):
            cells = "".join(f"{'-' if time is None else duration(time):>12}" for time in times)
            name = f"GPU of {PAPER}, V100" if speeds.machine == PAPER else speeds.machine
            yield f"  {name:<40}{cells}"
