from math import nan
from pathlib import Path

from e2mc.config import Experiment
from e2mc.plan import needs
from e2mc.reporting.accuracies import Arrangement, accuracy_cells, accuracy_table
from e2mc.reporting.results import Evaluations, evaluations
from e2mc.reporting.table import Cell, Estimate

ARRANGEMENT = Arrangement(
    "t",
    "T",
    [[("swav-60", "base"), ("swav-60", "continued"), ("swav-60", "e2mc")]],
    ["linear-1", "semisup-1"],
)


def found(settings: Experiment, results: Path) -> Evaluations:
    return evaluations(settings, results, needs.table_inputs(settings, "table1"))


def test_a_line_for_every_cell_that_the_experiment_asks_for(
    settings: Experiment, results: Path
) -> None:
    cells = accuracy_cells(found(settings, results), ARRANGEMENT)
    identities = list(zip(cells["criterion"], cells["protocol"], strict=True))
    assert identities == [
        ("base", "linear-1"),
        ("base", "semisup-1"),
        ("continued", "linear-1"),
        ("e2mc", "linear-1"),
        ("e2mc", "semisup-1"),
    ]
    assert cells["mean"].tolist() == [50, 65, 50, 52, 67]
    assert cells["mark"].tolist() == ["", "", "", "bold", "bold"]
    assert cells["epochs"].tolist() == [60, 60, 70, 70, 70]
    assert cells["evaluation"][3] == "evaluate/swav-60/e2mc/trial*/linear-1"


def test_the_second_of_all_is_underlined_where_all_are_ranked_together(
    settings: Experiment, results: Path
) -> None:
    models = [[("swav-60", "e2mc")], [("vicreg-60", "e2mc")], [("swav-60", "base")]]
    together = Arrangement("t", "T", models, ["linear-1"], ranked_together=True)
    # the two with E2MC share the highest mean, so neither is clearly the highest or the second
    cells = accuracy_cells(found(settings, results), together)
    assert cells["mark"].tolist() == ["", "", ""]
    apart = together._replace(groups=models[1:])
    assert accuracy_cells(found(settings, results), apart)["mark"].tolist() == [
        "bold",
        "underlined",
    ]


def test_cells_keep_mark_link_and_published_number(settings: Experiment, results: Path) -> None:
    numbers = accuracy_cells(found(settings, results), ARRANGEMENT)
    table = accuracy_table(settings, ARRANGEMENT, numbers, "About.")
    (base, continued, e2mc) = table.groups[0]
    assert [row.cells[0].shown for row in table.groups[0]] == ["SwAV", "continued", "+ E²MC"]
    mean, error, trials, _ = e2mc.cells[2].shown
    assert (mean, trials) == (52, 3) and abs(error - 0.25 / 3**0.5) < 1e-12
    assert e2mc.cells[2]._replace(shown="") == Cell(
        mark="bold",
        link="evaluate/swav-60/e2mc/trial*/linear-1",
        published=Estimate(55.27, 0.07),
    )
    assert str(continued.cells[3]) == str(Cell(Estimate(nan))), "not asked for"
    assert base.cells[3].footnote == "†"
    assert [column.group for column in table.columns] == ["", "", "Linear", "Semi-supervised"]
