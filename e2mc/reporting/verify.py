"""Whether what an experiment prints follows from the results that lie there."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from e2mc.config import Experiment, load_experiment
from e2mc.config.protocols import EMBEDDINGS, protocol_of
from e2mc.errors import E2MCError
from e2mc.files import SEAL, read_json, sha256
from e2mc.plan import layout, needs, recorded
from e2mc.plan.needs import Cell
from e2mc.reporting.significance import write_statistics
from e2mc.reporting.tables import write_table
from e2mc.statistics.average_precision import voc_average_precision

TOLERANCE = 1e-6
"""Per cent: what another order of summation may change in an accuracy."""


def run(results: Path) -> int:
    """Check an experiment's results and print what is wrong, and one line of judgement.

    Every file is held to its hash; results to the configuration beside them and to the models and
    features they name; accuracies are computed again from the per-image predictions; tables, tests
    and verdicts from all that, byte by byte. Nothing is changed.

    Args:
        results: an experiment's folder, wherever it lies.

    Returns:
        The exit status: 0 if what is printed follows from what lies there, else 1.

    Raises:
        E2MCError: the folder is not that of an experiment, or nothing was made in it yet.
    """
    experiment = load_experiment(results / layout.EXPERIMENT)
    cells = [cell for cell in needs.all_inputs(experiment) if _lies(results, cell)]
    printed = list(_printed(experiment, results))
    if not printed:
        raise E2MCError(f"{results} has no tables or tests yet: there is nothing to verify")
    # the rest would only repeat that a record is damaged
    problems = list(_files(results)) or [
        *_settings(experiment, results, cells),
        *_accuracies(results, cells),
        *_recomputed(experiment, results, printed),
    ]
    for problem in problems:
        print(f"  {problem}")
    if problems:
        print(
            f"{results}: what is printed does NOT follow from what lies there "
            f"({len(problems)} problem(s)). `snakemake all` makes damaged results again."
        )
        return 1
    print(
        f"{results}: what is printed follows from what lies there: {len(cells)} results, and "
        f"{len(printed)} tables and tests made again from them."
    )
    return 0


def _lies(results: Path, cell: Cell) -> bool:
    pattern = layout.EMBEDDINGS if cell.protocol == EMBEDDINGS else layout.METRICS
    return (results / pattern.format(**cell._asdict())).exists()


def _files(results: Path) -> Iterator[str]:
    """What is not as it was written, and what cannot tell."""
    for fault in recorded.damaged(results):
        yield f"{fault.record} {fault.problem}"
    for record in recorded.records_of(results):
        with suppress(E2MCError):  # said above
            if SEAL not in read_json(record):
                yield f"{record.relative_to(results)} carries no hash: an older version wrote it"
    for index in sorted(results.glob(f"features/*/*/*/*/{layout.INDEX_FILE}")):
        yield from _shards(index)


def _shards(index: Path) -> Iterator[str]:
    """Shards of cached features that are not those of their index."""
    try:
        shards = read_json(index)["shards"]
    except (E2MCError, KeyError, TypeError) as error:
        yield f"{index} is damaged ({error}); delete its folder, and start the workflow"
        return
    for shard in shards:
        file = index.with_name(shard["file"])
        if not file.is_file() or sha256(file) != shard["sha256"]:
            yield f"{file} is missing or has changed; delete its folder, and start the workflow"


def _settings(experiment: Experiment, results: Path, cells: list[Cell]) -> Iterator[str]:
    for fault in recorded.other_settings(experiment, results, cells):
        yield f"{fault.record} {fault.problem}"


def _accuracies(results: Path, cells: list[Cell]) -> Iterator[str]:
    """Results whose score is not that of their predictions."""
    for cell in cells:
        if cell.protocol == EMBEDDINGS:
            continue
        names = cell._asdict()
        record = layout.METRICS.format(**names)
        try:
            metrics = read_json(results / record)
            draws = metrics.get("draws")
            stated = metrics["last"] if draws is None else draws[0]
            found = _score(results / layout.PREDICTIONS.format(**names), cell.protocol)
            consistent = draws is None or abs(np.mean(draws) - metrics["last"]) <= TOLERANCE
            if abs(found - stated) > TOLERANCE or not consistent:
                yield f"{record} says {stated} %, its predictions {found} %: delete it"
        except (E2MCError, OSError, KeyError, TypeError, ValueError) as error:
            yield f"{record}: its accuracy cannot be computed again ({error})"


def _score(predictions: Path, protocol: str) -> float:
    """Per cent: top-1, or the mean over classes of average precision."""
    rows = pd.read_csv(predictions, keep_default_na=False)
    if not protocol_of(protocol).multilabel:
        return 100 * float((rows["label"] == rows["prediction"]).mean())
    precisions = [
        voc_average_precision(of_class["label"].to_numpy(), of_class["score"].to_numpy())
        for _, of_class in rows.groupby("class")
    ]
    return 100 * float(np.mean(precisions))


def _printed(experiment: Experiment, results: Path) -> Iterator[str]:
    """Tables and tests that lie there, by name."""
    for table in (*needs.tables(experiment), "reproduction"):
        if (results / layout.TABLE_CSV.format(table=table)).exists():
            yield table
    if any((results / layout.STATISTICS.format(name=name)).exists() for name in _TESTS):
        yield _TESTS[0]


_TESTS = needs.STATISTICS_NAMES


def _recomputed(experiment: Experiment, results: Path, printed: list[str]) -> Iterator[str]:
    """Tables and tests whose bytes are not those that the results give."""
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder)
        (again / "evaluate").symlink_to((results / "evaluate").absolute())
        for name in printed:
            try:
                files = _make_again(experiment, again, name)
            except (E2MCError, ValueError) as error:
                yield f"{name} cannot be made again: {error}"
                continue
            for file in files:
                there = results / file
                if not there.is_file() or there.read_bytes() != (again / file).read_bytes():
                    yield f"{file} is not what the results give: delete it"


def _make_again(experiment: Experiment, folder: Path, name: str) -> list[str]:
    if name in _TESTS:
        write_statistics(experiment, folder)
        return [layout.STATISTICS.format(name=test) for test in _TESTS]
    files = [pattern.format(table=name) for pattern in (layout.TABLE_CSV, layout.TABLE_TEX)]
    write_table(experiment, folder, name, *(folder / file for file in files))
    return files
