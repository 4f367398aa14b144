import subprocess
import sys

import pytest

from e2mc.config import Experiment
from e2mc.errors import E2MCError
from e2mc.plan import needs
from e2mc.plan.needs import Cell
from tests.reporting.synthetic_results import experiment


def test_planning_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'numpy', 'scipy', 'matplotlib'}"
    code = f"import sys, e2mc.plan.needs; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


@pytest.fixture
def small() -> Experiment:
    return experiment()


def test_table1_is_the_three_arms_and_fine_tuning_of_two(small: Experiment) -> None:
    cells = needs.table_inputs(small, "table1")
    assert Cell("vicreg-60", "continued", 2, "linear-10") in cells
    assert Cell("vicreg-60", "e2mc", 1, "semisup-1") in cells
    assert not any(c.criterion == "continued" and "semisup" in c.protocol for c in cells)
    assert not any(c.base.startswith("simsiam") and "semisup" in c.protocol for c in cells)
    # 3 bases x 3 arms x 3 shares + 2 bases x 2 arms x 2 shares, three trials each
    assert len(cells) == len(set(cells)) == (27 + 8) * 3


def test_table2_takes_the_deterministic_svm_of_a_checkpoint_once(small: Experiment) -> None:
    cells = needs.table_inputs(small, "table2")
    assert [c.trial for c in cells if c[:2] == ("vicreg-60", "base") and c.protocol == "voc07"] == [
        0
    ]
    assert len(cells) == 3 * (3 + 1 + 3 + 3)


def test_single_base_tables(small: Experiment) -> None:
    assert {c.base for c in needs.table_inputs(small, "table3")} == {"swav-60"}
    assert {c.criterion for c in needs.table_inputs(small, "table3")} == {
        *("base", "continued", "e2mc", "vcreg", "mmcr", "auh", "mec")
    }
    assert {c.base for c in needs.table_inputs(small, "table_d1")} == {"vicreg-60"}
    ablation = needs.table_inputs(small, "table_d2")
    assert {c.trial for c in ablation if c.criterion.startswith("grid-")} == {0}
    # what Tables 1 and 3 show too is the same mean there
    for criterion in ("continued", "e2mc"):
        shared = [c for c in ablation if c.criterion == criterion and c.protocol == "linear-1"]
        assert [c.trial for c in shared] == [0, 1, 2]
    assert ablation[0].criterion == "continued"
    assert {c.protocol for c in ablation} == {"linear-1", "linear-10"}


def test_what_is_not_configured_is_not_needed() -> None:
    bare = experiment(data={"inat18": None, "voc07": None}, tables={})
    assert needs.tables(bare) == ("table1",)
    one = experiment(data={"inat18": None})
    assert {c.protocol for c in needs.table_inputs(one, "table2")} == {"voc07"}


def test_few_shot_transfer_of_every_tree_and_chosen_bases() -> None:
    data = {"transfer": {"flowers": {"root": "f"}, "pets": {"root": "p"}}}
    both = experiment(data=data, evaluation={"few_shot": {"shots": [1, 5]}})
    cells = needs.table_inputs(both, "table_transfer")
    assert Cell("simsiam-60", "e2mc", 2, "pets-knn-5") in cells
    # 3 bases x 2 arms x 2 trees x 2 classifiers x 2 numbers of shots, three trials each
    assert len(cells) == len(set(cells)) == 3 * 2 * 2 * 2 * 2 * 3
    assert not set(cells) & set(needs.reproduction_inputs(both) + needs.statistics_inputs(both))
    one = experiment(data=data, tables={"table_transfer": ["swav-60"]})
    assert {cell.base for cell in needs.table_inputs(one, "table_transfer")} == {"swav-60"}
    assert "table_transfer" in needs.tables(both)
    assert "table_transfer" not in needs.tables(experiment())
    with pytest.raises(E2MCError, match=r"tables.table_transfer: no base 'resnet'"):
        experiment(data=data, tables={"table_transfer": ["resnet"]})


def test_files_follow_the_layout(small: Experiment) -> None:
    assert needs.table_files(small, "table1")[0] == (
        "evaluate/vicreg-60/base/trial0/linear-1/metrics.json"
    )
    assert "evaluate/vicreg-60/e2mc/trial0/semisup-1/predictions.csv" in needs.table_files(
        small, "table_d1"
    )
    assert needs.figure_files(small, "figure2") == [
        "features/vicreg-60/base/trial0/embeddings.npy",
        "features/vicreg-60/e2mc/trial0/embeddings.npy",
    ]
    assert needs.figure_files(small, "figure3")[0].endswith("trial0/knn/distances.npy")
    curves = needs.figure_files(small, "figure_probe_epochs")
    assert curves[0].endswith("linear-1/history.csv")


def test_figure4_shows_snapshots_of_the_trials_and_arms_asked_for() -> None:
    figure = {"bases": ["swav-60", "vicreg-60"], "epochs": 12, "every": 6, "trials": 2}
    shown = experiment(figures={"figure4": figure})
    cells = needs.figure_inputs(shown, "figure4")
    assert {cell.criterion for cell in cells} == {"continued", "e2mc"}
    assert {(cell.trial, cell.protocol) for cell in cells} == {(0, "snapshots"), (1, "snapshots")}
    assert len(cells) == len(set(cells)) == 2 * 2 * 2
    assert [
        file.format(base="b", criterion="c", trial=1) for file in needs.snapshot_files(shown)
    ] == [
        "pretrain/b/c/trial1/epoch6.safetensors",
        "pretrain/b/c/trial1/epoch12.safetensors",
    ]
    assert "figure4" not in needs.figures(experiment())


def test_unknown_names_are_refused(small: Experiment) -> None:
    with pytest.raises(E2MCError, match="no table 'table9'; tables: table1"):
        needs.table_inputs(small, "table9")
    with pytest.raises(E2MCError, match="no figure 'figure9'"):
        needs.figure_inputs(small, "figure9")
