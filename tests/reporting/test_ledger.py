"""The ledger of complete runs, from a results folder with known numbers."""

import json
from pathlib import Path
from statistics import mean, stdev

import pytest
import yaml
from scipy.stats import t

from e2mc.config.protocols import EMBEDDINGS
from e2mc.errors import E2MCError
from e2mc.plan import layout, needs
from e2mc.reporting.ledger import record
from e2mc.reporting.tables import write_table
from tests.reporting.synthetic_results import experiment, percent, write_results

ROOT = Path(__file__).parents[2]
SMALL = experiment(
    bases={"vicreg-60": {"method": "vicreg", "epochs": 60}},
    data={"inat18": None, "voc07": None},
    tables={},
    evaluation={"linear": {"percents": [1, 10]}},
)
MADE = {
    "date": "2026-01-02",
    "code": {"commit": "0123456789abcdef", "dirty": False},
    "device": "cpu",
    "machine": "Linux-6.1-x86_64-with-glibc2.36",
}


def run_in(folder: Path, gains: tuple[float, ...] = (1.0, 2.0, 3.0), **made: object) -> Path:
    """A complete run in which E2MC gains this much in each trial."""
    cells = [cell for cell in needs.all_inputs(SMALL) if cell.protocol != EMBEDDINGS]

    def accuracy(cell: needs.Cell) -> float:
        shared = percent(cell._replace(criterion="continued"))
        return shared + (gains[cell.trial] if cell.criterion == "e2mc" else 0.0)

    write_results(folder, cells, accuracy)
    for cell in cells:
        path = folder / layout.METRICS.format(**cell._asdict())
        metrics = json.loads(path.read_text())
        cost = {"seconds": 60.0, "gpu_hours": 0.0, "restarts": 0}
        path.write_text(json.dumps(metrics | {"cost": cost, "provenance": {**MADE, **made}}))
    (folder / layout.EXPERIMENT).write_text(yaml.safe_dump(SMALL.model_dump(mode="json")))
    csv, tex = (
        folder / file.format(table="table1") for file in (layout.TABLE_CSV, layout.TABLE_TEX)
    )
    write_table(SMALL, folder, "table1", csv, tex)
    return folder


def lines(ledger: Path) -> list[list[str]]:
    found = [line for line in ledger.read_text().splitlines() if line.startswith("| 2")]
    return [line.strip("| ").split(" | ") for line in found]


def test_a_line_of_a_complete_run(tmp_path: Path) -> None:
    record([run_in(tmp_path / "run")], tmp_path / "ledger.md")
    ((date, name, commit, machine, cost, trials, differences),) = lines(tmp_path / "ledger.md")
    assert (date, name, commit) == ("2026-01-02", "synthetic", "0123456789")
    assert machine == "cpu, Linux"
    assert cost.startswith("0.0 GPU-hours, ")
    assert trials == "3"
    reach = t.ppf(0.975, 2) * 1 / 3**0.5  # gains of 1, 2, 3: a mean of 2, a deviation of 1
    share = f"+2.00 [{2 - reach:+.2f}, {2 + reach:+.2f}]"
    assert differences == f"VICReg-60 1 %: {share}; 10 %: {share}"


def test_other_lines_stay_and_a_run_replaces_its_own(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.md"
    first = run_in(tmp_path / "one")
    later = run_in(tmp_path / "two", date="2026-03-04", code={"commit": "fed", "dirty": True})
    record([first], ledger)
    record([later], ledger)
    assert [line[2] for line in lines(ledger)] == ["fed with changes", "0123456789"]
    run_in(tmp_path / "one", gains=(0.0, 1.0, 2.0))
    record([first], ledger)
    assert [line[0] for line in lines(ledger)] == ["2026-03-04", "2026-01-02"]
    assert "1 %: +1.00" in lines(ledger)[1][6]
    assert ledger.read_text().count("\n# ") + ledger.read_text().startswith("# ") == 1


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    run = run_in(tmp_path / "run")
    gone = needs.table_inputs(SMALL, "table1")[0]
    (run / layout.METRICS.format(**gone._asdict())).unlink()
    with pytest.raises(E2MCError, match=r"is not a complete run: 1 of \d+ evaluations"):
        record([run], tmp_path / "ledger.md")
    assert not (tmp_path / "ledger.md").exists()


def test_table_1_of_the_last_run_of_each_experiment(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.md"
    run = run_in(tmp_path / "run")
    record([run], ledger)
    text = ledger.read_text()
    record([run], ledger)
    assert ledger.read_text() == text
    assert text.count("\n## ") == 1
    assert "2026-01-02, commit 0123456789" in text.partition("\n## Table 1 of synthetic\n")[2]
    cell = needs.Cell("vicreg-60", "e2mc", 0, "linear-1")
    scores = [percent(cell._replace(criterion="continued", trial=n)) + 1 + n for n in range(3)]
    shown = f"{mean(scores):.2f} ± {stdev(scores) / 3**0.5:.2f}"
    (row,) = (line for line in text.splitlines() if line.startswith("| + E²MC"))
    assert row.split(" | ")[2] == shown


def test_the_readme_shows_what_the_ledger_has() -> None:
    """The tables of the README are copied from the ledger; only results make a number there."""
    readme, ledger = ((ROOT / name).read_text() for name in ("README.md", "docs/results.md"))
    shown = [line for line in readme.splitlines() if " ± " in line and line.startswith("|")]
    assert len(shown) == 9
    assert [line for line in shown if line not in ledger.splitlines()] == []
