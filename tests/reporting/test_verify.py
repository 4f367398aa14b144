"""`e2mc verify`: sound results pass; one changed byte anywhere does not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from e2mc.errors import E2MCError
from e2mc.files import write_record, write_text
from e2mc.plan import layout, needs
from e2mc.plan.needs import Cell
from e2mc.reporting.significance import write_statistics
from e2mc.reporting.tables import write_table
from e2mc.reporting.verify import run
from tests.reporting.synthetic_results import all_cells, experiment, write_results

LINEAR = Cell("vicreg-60", "e2mc", 0, "linear-1")
BASES = {"vicreg-60": {"method": "vicreg", "epochs": 60, "published": "vicreg-1000"}}


def sealed(results: Path, cell: Cell) -> None:
    """The record of a result whose score is that of its predictions."""
    metrics = results / layout.METRICS.format(**cell._asdict())
    predictions = results / layout.PREDICTIONS.format(**cell._asdict())
    content = json.loads(metrics.read_text())
    rows = pd.read_csv(predictions)
    content["last"] = 100 * float((rows["label"] == rows["prediction"]).mean())
    write_record(metrics, content, [predictions])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results") / "elsewhere"
    settings = experiment(bases=BASES, tables={"table_d1": "vicreg-60"}, data={"voc07": None})
    effective = settings.model_dump(mode="json")
    write_text(results / layout.EXPERIMENT, yaml.safe_dump(effective, sort_keys=False))
    write_results(results, all_cells(settings))
    for cell in all_cells(settings):
        sealed(results, cell)
    for table in (*needs.tables(settings), "reproduction"):
        paths = [
            results / pattern.format(table=table)
            for pattern in (layout.TABLE_CSV, layout.TABLE_TEX)
        ]
        write_table(settings, results, table, *paths)
        write_record(paths[0].with_suffix(".json"), {}, paths)
    write_statistics(settings, results)
    tests = [results / layout.STATISTICS.format(name=name) for name in needs.STATISTICS_NAMES]
    write_record(tests[0].with_suffix(".json"), {}, tests)
    return results


@pytest.fixture
def results(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def test_sound_results_pass_wherever_they_lie(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert run(results) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "what is printed follows from what lies there" in line
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "file",
    [
        layout.METRICS.format(**LINEAR._asdict()),
        layout.PREDICTIONS.format(**LINEAR._asdict()),
        "tables/table1.csv",
        "tables/table1.tex",
        "tables/reproduction.csv",
        "statistics/trials.csv",
    ],
)
def test_one_changed_digit_is_named(
    results: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    content = bytearray((results / file).read_bytes())
    at = max(number for number, one in enumerate(content) if chr(one).isdigit())
    content[at] ^= 1
    (results / file).write_bytes(content)
    assert run(results) == 1
    out = capsys.readouterr().out
    assert Path(file).name in out
    assert "does NOT follow" in out


def reseal(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Whoever changes a record by hand may also give it a new hash."""
    content = json.loads(path.read_text())
    names = list(content.pop("files"))
    content.pop("seal")
    change(content)
    write_record(path, content, [path.with_name(name) for name in names])


def test_an_accuracy_that_is_not_that_of_its_predictions(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = results / layout.METRICS.format(**LINEAR._asdict())
    reseal(metrics, lambda content: content.update(last=99.5))
    assert run(results) == 1
    out = capsys.readouterr().out
    assert "says 99.5 %, its predictions" in out
    assert "tables/table1.csv is not what the results give" in out


def test_results_without_hashes_are_said_to_have_none(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = results / layout.METRICS.format(**LINEAR._asdict())
    content = json.loads(metrics.read_text())
    del content["seal"]
    metrics.write_text(json.dumps(content))
    assert run(results) == 1
    assert "carries no hash" in capsys.readouterr().out


def test_a_folder_without_an_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match="cannot read"):
        run(tmp_path)
