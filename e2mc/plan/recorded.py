"""Whether the results that lie there are whole, and those of this experiment.

Every result has a record (`e2mc.files.sealed`), which also says with which settings it was made.
The workflow asks here before it plans, so that it makes again what it cannot use; reporting asks
before it prints a number.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from e2mc.config import Experiment, stages
from e2mc.config.protocols import (
    EMBEDDINGS,
    IMAGENET,
    dataset_of_result,
    protocol_of,
    transfer_datasets,
)
from e2mc.config.strict import Strict
from e2mc.errors import E2MCError
from e2mc.files import FILES, changed, digest, read_json
from e2mc.plan import layout
from e2mc.plan.needs import Cell

ASIDE = ".aside"
"""Ends the name of a result that was set aside."""

_SHOWN = 5


class Fault(NamedTuple):
    """A result that cannot be used.

    Attributes:
        record: relative to the results folder.
        problem: what is wrong, as a predicate: `was made with ...`.
        features: the features that it was made from are out of date as well.
    """

    record: str
    problem: str
    features: bool = False


def refuse_other_settings(experiment: Experiment, results: Path, cells: Iterable[Cell]) -> None:
    """Refuse results that were made with other settings, or from other models, than those here.

    Raises:
        E2MCError: the first few of them, each with what differs, and what to do.
    """
    found = list(other_settings(experiment, results, cells))
    if found:
        lines = [f"  {results / fault.record} {fault.problem}" for fault in found[:_SHOWN]]
        lines += [f"  ... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise E2MCError(
            "these results are not those of this configuration:\n"
            + "\n".join(lines)
            + "\nStart the workflow, which makes them again (`snakemake all`); or bring back the "
            "configuration they were made with."
        )


def other_settings(experiment: Experiment, results: Path, cells: Iterable[Cell]) -> list[Fault]:
    """Results behind ``cells`` that were made with other settings or from other models.

    What does not exist, or was written without provenance, is passed over.

    Raises:
        E2MCError: a record is damaged.
    """
    cells = list(dict.fromkeys(cells))
    records = _Records(results)
    found: dict[str, Fault] = {}
    for cell in cells:
        for record, settings in _trained(experiment, cell).items():
            if record not in found and (problem := _differs(records.read(record), settings)):
                found[record] = Fault(record, problem)
        if fault := _evaluated(experiment, cell, records):
            found.setdefault(fault.record, fault)
    return list(found.values())


def damaged(results: Path) -> list[Fault]:
    """Records and files that are not as they were written; features are left to their readers.

    What a training says about its epochs has no reader, and is not looked at.
    """
    found = []
    for record in sorted(records_of(results)):
        try:
            files = changed(record)
        except E2MCError:
            found.append(Fault(str(record.relative_to(results)), "is damaged"))
            continue
        if files:
            problem = f"is not about what lies there: {', '.join(files)} changed or missing"
            found.append(Fault(str(record.relative_to(results)), problem))
    return found


def records_of(results: Path) -> Iterable[Path]:
    """All records but those of features, which may be very long."""
    for pattern in (
        "scratch/*.metrics.json",
        "checkpoints/*.json",
        "pretrain/**/metrics.json",
        "features/*/*/*/embeddings.json",
        "evaluate/**/metrics.json",
        *("statistics/*.json", "tables/*.json", "figures/*.json", "report/*.json", "summary.json"),
    ):
        yield from results.glob(pattern)


def set_aside(results: Path, faults: Iterable[Fault]) -> None:
    """Rename what cannot be used, so that the workflow makes it again and nothing is lost.

    Cached features of other settings are deleted: they are large, and would be made again anyway.
    """
    for fault in faults:
        record = results / fault.record
        try:
            files = [record.with_name(name) for name in read_json(record).get(FILES, ())]
        except E2MCError:
            files = list(record.parent.glob(f"{record.stem}.*"))
        if fault.features:
            run = Path(fault.record).relative_to("evaluate").parent.parent
            for index in (results / "features" / run).glob(f"*/{layout.INDEX_FILE}"):
                shutil.rmtree(index.parent)
        for path in (record, *files):
            if path.exists() and path.suffix != ASIDE:
                path.replace(path.with_name(path.name + ASIDE))


class _Records:
    """Records by name, each read once; {}: there is none."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.known: dict[str, Mapping[str, Any]] = {}

    def read(self, name: str) -> Mapping[str, Any]:
        if name not in self.known:
            path = self.results / name
            content = read_json(path) if path.exists() else {}
            self.known[name] = content if isinstance(content, dict) else {}
        return self.known[name]


def _trained(experiment: Experiment, cell: Cell) -> dict[str, Strict]:
    """Records of the model behind a cell, with the settings that each must have."""
    base, criterion, trial, _ = cell
    expected: dict[str, Strict] = {}
    if experiment.bases[base].checkpoint is None:
        settings = stages.scratch_settings(experiment, base)
        expected[layout.SCRATCH_METRICS.format(base=base)] = settings
    imported = stages.import_checkpoint_settings(experiment, base)
    expected[layout.CHECKPOINT_RECORD.format(base=base)] = imported
    if criterion != "base":
        continued = stages.pretrain_settings(experiment, base, criterion, trial)
        expected[layout.PRETRAIN_METRICS.format(**cell._asdict())] = continued
    return expected


def _evaluated(experiment: Experiment, cell: Cell, records: _Records) -> Fault | None:
    """What is wrong with the result of a cell itself, or with the features it was made from."""
    datasets = _extracted(experiment, cell)
    extraction = stages.extract_settings(experiment, cell.base, cell.trial, datasets)
    seen = cell.protocol == EMBEDDINGS
    settings = extraction if seen else _protocol(experiment, cell)
    pattern = layout.EMBEDDINGS_RECORD if seen else layout.METRICS
    record = pattern.format(**cell._asdict())
    content = records.read(record)
    if problem := _differs(content, settings):
        return Fault(record, problem)
    made = content.get("provenance", {})
    sources = [source for source in made.get("sources", {}).values() if source]
    if any(source["settings_hash"] != _hash(extraction) for source in sources):
        problem = "was made from features that were extracted with other settings"
        return Fault(record, problem, features=True)
    model = _model(cell, records)
    used = [made.get("inputs", {}), *(source["inputs"] for source in sources)]
    if model and any(inputs.get("model", model) != model for inputs in used):
        return Fault(record, "was made from another model than lies there", bool(sources))
    return None


def _model(cell: Cell, records: _Records) -> str | None:
    """Hash of the model that a cell is about, as its record has it."""
    trained = layout.PRETRAIN_METRICS, layout.MODEL
    imported = layout.CHECKPOINT_RECORD, layout.CHECKPOINT
    record, file = imported if cell.criterion == "base" else trained
    files = records.read(record.format(**cell._asdict())).get(FILES, {})
    found = files.get(Path(file.format(**cell._asdict())).name)
    return None if found is None else str(found)


def _extracted(experiment: Experiment, cell: Cell) -> tuple[str, ...]:
    dataset = dataset_of_result(cell.protocol)
    one = dataset.extraction == IMAGENET.extraction
    return (dataset.name,) if one else transfer_datasets(experiment)


def _protocol(experiment: Experiment, cell: Cell) -> Strict:
    stage = protocol_of(cell.protocol, experiment).stage
    if stage == "knn":
        return stages.knn_settings(experiment, cell.base)
    return stages.protocol_settings(experiment, stage, cell.base, cell.trial)


def _hash(settings: Strict) -> str:
    return digest(settings.model_dump(mode="json"))


def _differs(record: Mapping[str, Any], settings: Strict) -> str:
    """How the settings of a record differ from those asked for; empty: they do not."""
    made = record.get("provenance", {})
    if "settings_hash" not in made or made["settings_hash"] == _hash(settings):
        return ""
    now = settings.model_dump(mode="json")
    keys = [f"{key} {old!r}, now {new!r}" for key, old, new in _leaves(made["settings"], now)]
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"was made with {'; '.join(keys[:3])}{more}"


def _leaves(old: Any, new: Any, key: str = "") -> Iterable[tuple[str, Any, Any]]:
    """Keys of which two settings have different values."""
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = ({str(name): one[name] for name in one} for one in (old, new))
        for name in dict.fromkeys([*before, *after]):
            inner = f"{key}.{name}" if key else name
            yield from _leaves(before.get(name), after.get(name), inner)
    elif old != new and not (isinstance(new, tuple) and old == list(new)):
        yield key, old, new
