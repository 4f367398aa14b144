"""The table of few-shot transfer."""

from pathlib import Path

import pandas as pd
import pytest

from e2mc.plan import needs
from e2mc.plan.needs import Cell
from e2mc.reporting.pages import write_page
from e2mc.reporting.tables import write_table
from tests.reporting.synthetic_results import experiment, write_results

SMALL = experiment(
    data={"inat18": None, "voc07": None, "transfer": {"oxford_pets": {"root": "p"}}},
    evaluation={"few_shot": {"shots": [1, 5], "draws": 4}},
    tables={"table_transfer": ["swav-60"]},
)


def accuracy(cell: Cell) -> float:
    """Known numbers: five shots are 20 points above one, neighbours 5 below linear."""
    level = 50.0 + 20 * cell.protocol.endswith("5") - 5 * ("knn" in cell.protocol)
    return level + (2 if cell.criterion == "e2mc" else 0) + 0.25 * (cell.trial - 1)


@pytest.fixture
def written(tmp_path: Path) -> tuple[pd.DataFrame, str, Path]:
    write_results(tmp_path, needs.table_inputs(SMALL, "table_transfer"), accuracy)
    csv, tex = (tmp_path / f"tables/table_transfer.{suffix}" for suffix in ("csv", "tex"))
    write_table(SMALL, tmp_path, "table_transfer", csv, tex)
    return pd.read_csv(csv), tex.read_text(), tmp_path


def test_cells_and_lines(written: tuple[pd.DataFrame, str, Path]) -> None:
    cells, tex, _ = written
    means = cells.set_index(["criterion", "classifier", "shots"])["mean"]
    assert len(cells) == 8
    assert means["base", "linear", 1] == 50
    assert means["e2mc", "knn", 5] == 67
    assert cells["standard_error"].tolist() == pytest.approx([0.25 / 3**0.5] * 8, abs=1e-6)
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    error = r" {\scriptsize$\pm$\,0.14}"
    assert body[0] == (rf"oxford\_pets & SwAV & linear & 50.00{error} & 70.00{error} " + r"\\")
    assert body[-1].startswith(r"oxford\_pets & SwAV + E$^2$MC & k-NN & 47.00")
    assert "averaged over 4 draws" in tex
    assert "over 3 trials" in tex


def test_the_page_links_to_the_evaluations(written: tuple[pd.DataFrame, str, Path]) -> None:
    *_, folder = written
    write_page(SMALL, folder, "table_transfer", folder / "page.html")
    page = (folder / "page.html").read_text()
    assert "Transfer with few labels" in page
    assert 'href="#evaluate/swav-60/e2mc/trial*/oxford_pets-knn-5"' in page
    assert "67.00 ±\u00a00.14" in page
