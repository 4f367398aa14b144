"""How fast machines do each kind of work: measured here, or known of a type of GPU."""

import csv
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from e2mc.config.experiment import Experiment
from e2mc.config.protocols import DATASETS, IMAGENET
from e2mc.errors import E2MCError
from e2mc.files import write_json, write_text
from e2mc.plan import layout
from e2mc.plan.work import Images, Work

TABLE = Path(__file__).with_name("speeds.csv")
"""Types of GPUs, with the sources of their rates; what `doctor --benchmark` writes fits in here."""
MEASURED = Path("results/speeds.csv")
"""What that command has measured; the last machine is the one that is planned for."""
_COLUMNS = ("machine", "network", "work", "per_second", "source")

PAPER = "the paper's GPUs"
_GPUS = 2
_EPOCHS = 10
"""What the hours in `Recipe.hours` are for."""
_EVALUATED_ON = "Tesla V100-SXM2-16GB"
_READING = 1e9
"""Bytes per second that a probe on cached views gets from a disk and the memory before it: a guess;
one epoch of ImageNet takes the probe itself a second on a GPU."""


class Speeds(NamedTuple):
    """Of one machine, or of one GPU of it."""

    machine: str
    """Its name; `PAPER`: trainings as long as the paper says, evaluations on a V100."""
    rates: Mapping[str, float]
    """Kind of work -> how much per second."""

    def seconds(self, work: Work) -> float | None:
        """Of so much work; None: it has a kind of which the rate is unknown."""
        rates = {kind: self._rate(kind) for kind in work}
        known = {kind: rate for kind, rate in rates.items() if rate is not None}
        if len(known) < len(work):
            return None
        return sum(amount / known[kind] for kind, amount in work.items())

    def _rate(self, kind: str) -> float | None:
        """bfloat16 is as fast as float16, where a machine has both."""
        return self.rates.get(kind, self.rates.get(kind.replace("bfloat16", "float16")))


def network(experiment: Experiment) -> str:
    """What rates are for: blocks, width, and the size of the images."""
    backbone = experiment.backbone
    layers = "-".join(map(str, backbone.layers))
    return f"{backbone.block} {layers} x {backbone.width}, {experiment.images.size} pixels"


def planned(experiment: Experiment, work: Work) -> Speeds | None:
    """The machine that hours are stated for: measured here if all of this work was.

    Raises:
        E2MCError: the file of measured speeds is damaged.
    """
    for speeds in reversed(list(_read(MEASURED, network(experiment)))):
        if speeds.seconds(work) is not None:
            return speeds
    return _paper(experiment) if experiment.comparable else None


def known(experiment: Experiment) -> list[Speeds]:
    """Every machine of which some rates are known at this size.

    Raises:
        E2MCError: a table of speeds is damaged.
    """
    own = network(experiment)
    found = [*_read(TABLE, own), *_read(MEASURED, own)]
    return [_paper(experiment), *found] if experiment.comparable else found


def keep(experiment: Experiment, speeds: Speeds, images: Images) -> None:
    """Write down what has been measured, instead of what is there of the same machine.

    Args:
        experiment: it was measured with.
        speeds: of this machine.
        images: of each data set, for estimates of this experiment.
    """
    write_json(layout.results(experiment.name) / layout.COUNTED, images)
    ours = (speeds.machine, network(experiment))
    rows = [row for row in _rows(MEASURED) if (row["machine"], row["network"]) != ours]
    for work, rate in speeds.rates.items():
        values = (*ours, work, f"{rate:.4g}", "e2mc doctor --benchmark")
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    text = StringIO()
    writer = csv.DictWriter(text, _COLUMNS, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(MEASURED, text.getvalue())


def _paper(experiment: Experiment) -> Speeds:
    original = DATASETS[IMAGENET.name].original
    assert original is not None
    recipes = {one.method: one for one in map(experiment.recipe, experiment.bases)}
    trained = {
        f"pretrain {method}": _EPOCHS * original.train / (recipe.hours * 3600 * _GPUS)
        for method, recipe in recipes.items()
    }
    machines = {one.machine: one for one in _read(TABLE, network(experiment))}
    rates = machines[_EVALUATED_ON].rates if _EVALUATED_ON in machines else {}
    return Speeds(PAPER, {**rates, **trained, "probe": _READING})


def _read(file: Path, of_network: str) -> Iterator[Speeds]:
    """Machine by machine."""
    machines: dict[str, dict[str, float]] = {}
    for row in _rows(file):
        if row["network"] == of_network:
            machines.setdefault(row["machine"], {})[row["work"]] = float(row["per_second"])
    yield from (Speeds(machine, rates) for machine, rates in machines.items())


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise E2MCError(f"cannot read {file}: {error}") from error
    for number, row in enumerate(rows, 2):
        if set(row) != set(_COLUMNS) or not _is_rate(row["per_second"]):
            raise E2MCError(
                f"{file}, line {number} is no row of {', '.join(_COLUMNS)}: mend or delete it"
            )
    return rows


def _is_rate(text: str | None) -> bool:
    try:
        return text is not None and 0 < float(text) < float("inf")
    except ValueError:
        return False
