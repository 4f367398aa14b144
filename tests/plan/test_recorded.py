"""Damage and foreign settings are found before anything is planned or printed."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from e2mc.config import Experiment, parse_experiment, stages
from e2mc.errors import E2MCError
from e2mc.files import write_record
from e2mc.plan import head, layout, needs, recorded
from e2mc.plan.needs import Cell
from e2mc.provenance import provenance
from tests.small_experiment import small_experiment

CELL = Cell("swav-30", "e2mc", 0, "linear-10")


def changed_rate() -> Experiment:
    content = small_experiment()
    content["methods"]["swav"]["continued"]["learning_rate"] = 5.0  # type: ignore[index]
    return parse_experiment(content, "changed")


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    return parse_experiment({**small_experiment(), "figures": {}}, "small")


@pytest.fixture
def results(experiment: Experiment) -> Path:
    """A model, its features and one result of it, with the records that stages write."""
    folder = layout.results(experiment.name)
    names = CELL._asdict()
    model = folder / layout.MODEL.format(**names)
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    settings = stages.pretrain_settings(experiment, "swav-30", "e2mc", 0)
    record = folder / layout.PRETRAIN_METRICS.format(**names)
    plain = settings.model_dump(mode="json")
    write_record(record, {"provenance": provenance(plain, {})}, [model])
    seen = stages.extract_settings(experiment, "swav-30", 0, ("imagenet",))
    index = folder / layout.CACHED.format(dataset="imagenet", split="test", **names)
    index = index / layout.INDEX_FILE
    made = provenance(seen.model_dump(mode="json"), {"model": model})
    write_record(index, {"provenance": made})
    probe = stages.linear_settings(experiment, "swav-30", 0)
    predictions = folder / layout.PREDICTIONS.format(**names)
    predictions.parent.mkdir(parents=True)
    predictions.write_text("sample,label,prediction\na,0,0\n")
    made = provenance(probe.model_dump(mode="json"), {"test": index})
    write_record(folder / layout.METRICS.format(**names), {"provenance": made}, [predictions])
    return folder


def test_sound_results_have_no_fault(experiment: Experiment, results: Path) -> None:
    assert recorded.damaged(results) == []
    assert recorded.other_settings(experiment, results, needs.all_inputs(experiment)) == []


@pytest.mark.parametrize(
    ("file", "record"),
    [
        (layout.MODEL, layout.PRETRAIN_METRICS),
        (layout.PREDICTIONS, layout.METRICS),
        (layout.METRICS, layout.METRICS),
        (layout.PRETRAIN_METRICS, layout.PRETRAIN_METRICS),
    ],
)
def test_one_flipped_bit_is_found(results: Path, file: str, record: str) -> None:
    path = results / file.format(**CELL._asdict())
    content = path.read_bytes()
    digit = re.search(rb"\d", content) or re.search(rb"w", content)
    assert digit
    flipped = bytearray(content)
    flipped[digit.start()] ^= 1
    path.write_bytes(flipped)
    (fault,) = recorded.damaged(results)
    assert fault.record == record.format(**CELL._asdict())


def test_a_missing_file_is_found(results: Path) -> None:
    (results / layout.PREDICTIONS.format(**CELL._asdict())).unlink()
    (fault,) = recorded.damaged(results)
    assert "predictions.csv" in fault.problem


def test_a_changed_rate_is_refused_by_name(results: Path) -> None:
    cells = [CELL]
    with pytest.raises(E2MCError) as refused:
        recorded.refuse_other_settings(changed_rate(), results, cells)
    message = str(refused.value)
    assert layout.PRETRAIN_METRICS.format(**CELL._asdict()) in message
    assert "training.learning_rate 0.3, now 5.0" in message
    assert "snakemake all" in message


def test_features_with_other_settings_and_other_models_are_seen(
    experiment: Experiment, results: Path
) -> None:
    content = small_experiment()
    content["evaluation"]["normalization_std"] = [0.3, 0.3, 0.3]  # type: ignore[index]
    other = parse_experiment(content, "other")
    (fault,) = recorded.other_settings(other, results, [CELL])
    assert "features" in fault.problem
    assert fault.features
    model = results / layout.MODEL.format(**CELL._asdict())
    model.write_bytes(b"others")
    record = results / layout.PRETRAIN_METRICS.format(**CELL._asdict())
    made = json.loads(record.read_text())["provenance"]
    write_record(record, {"provenance": made}, [model])
    (fault,) = recorded.other_settings(experiment, results, [CELL])
    assert "another model" in fault.problem


def workflow(*, dry: bool, triggers: tuple[str, ...] = ("mtime", "params")) -> SimpleNamespace:
    output = SimpleNamespace(dryrun=dry)
    return SimpleNamespace(is_main_process=True, output_settings=output, rerun_triggers=triggers)


def files(results: Path) -> set[str]:
    found = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    return found - {layout.HEAD_FLOCK}


def test_the_head_sets_aside_what_is_not_this_experiments(results: Path) -> None:
    before, said = files(results), []
    head.recheck(changed_rate(), workflow(dry=True), said.append)
    assert files(results) == before
    assert "it will be made again" in said[0]
    head.recheck(changed_rate(), workflow(dry=False, triggers=("mtime",)), said.append)
    assert files(results) == before
    head.recheck(changed_rate(), workflow(dry=False), said.append)
    model = layout.MODEL.format(**CELL._asdict())
    assert model not in files(results)
    assert model + recorded.ASIDE in files(results)
    assert layout.PREDICTIONS.format(**CELL._asdict()) in files(results)


def test_a_damaged_record_takes_its_result_with_it(experiment: Experiment, results: Path) -> None:
    table = results / layout.TABLE_CSV.format(table="table1")
    table.parent.mkdir(parents=True)
    table.write_text("1\n")
    write_record(table.with_suffix(".json"), {}, [table])
    table.write_text("2\n")
    head.recheck(experiment, workflow(dry=False), [].append)
    assert not table.exists()
    assert not table.with_suffix(".json").exists()
    assert table.with_name("table1.csv.aside").read_text() == "2\n"
