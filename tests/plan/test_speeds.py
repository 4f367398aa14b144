"""Rates of machines, and the hours that follow from them."""

from pathlib import Path

import pytest

from e2mc.config import load_experiment
from e2mc.errors import E2MCError
from e2mc.plan import speeds
from e2mc.plan.estimate import estimate
from e2mc.plan.speeds import PAPER, Speeds, keep, known, planned

ROOT = Path(__file__).parents[2]
PAPERS = load_experiment(ROOT / "config/paper.yaml")
DEMO = load_experiment(ROOT / "config/demo.yaml")
IMAGES = {"imagenet": (1000, 500), "inat18": (600, 400), "voc07": (300, 300), "inverted": (20, 40)}
KINDS = ("pretrain vicreg", "pretrain swav", "pretrain simsiam")
RATES = {
    **dict.fromkeys(KINDS, 100.0),
    **{"forward float32": 1000.0, "fine-tune": 200.0, "probe": 1e7},
}
HERE = Speeds('core of "ours", fast', RATES)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_shipped_table_is_read_and_every_row_has_a_source() -> None:
    rows = speeds._rows(speeds.TABLE)
    assert len(rows) >= 7
    assert all(row["source"] for row in rows)
    names = [one.machine for one in known(PAPERS)]
    assert names[0] == PAPER
    assert set(names[1:]) == {row["machine"] for row in rows}
    assert known(DEMO) == []


def test_the_paper_is_planned_for_with_the_papers_hours_until_something_is_measured() -> None:
    found = planned(PAPERS, {"pretrain vicreg": 1.0, "forward float16": 1.0})
    assert found is not None
    assert found.machine == PAPER
    assert found.seconds({"pretrain vicreg": 10 * 1_281_167}) == pytest.approx(2 * 10 * 3600)
    assert found.seconds({"forward bfloat16": 3382}) == pytest.approx(1)
    assert found.seconds({"pretrain vicreg": 1.0, "unheard of": 1.0}) is None
    assert planned(DEMO, {"fine-tune": 1.0}) is None


def test_what_was_measured_comes_back_and_replaces_what_was_measured_before() -> None:
    keep(DEMO, HERE._replace(rates={**RATES, "probe": 1.0}), IMAGES)
    keep(PAPERS, HERE._replace(machine="other"), IMAGES)
    keep(DEMO, HERE, IMAGES)
    assert known(DEMO) == [HERE]
    assert planned(DEMO, {"fine-tune": 1.0}) == HERE
    assert planned(DEMO, {"unheard of": 1.0}) is None
    assert planned(PAPERS, {"fine-tune": 1.0}) == HERE._replace(machine="other")


def test_hours_of_stages_by_hand() -> None:
    keep(DEMO, HERE, IMAGES)
    found = estimate(DEMO)
    assert found.machine == HERE.machine
    assert found.stage_hours["scratch"] == pytest.approx(3 * 30 * 1000 / 100 / 3600)
    assert found.stage_hours["pretrain"] == pytest.approx(45 * 10 * 1000 / 100 / 3600)
    assert found.stage_hours["trajectory"] == pytest.approx(4 * 12 * 1000 / 100 / 3600)
    tuned = 20 * ((10 + 100) / 200 + 2 * 500 / 1000)
    assert found.stage_hours["semisup"] == pytest.approx(12 * tuned / 3600)
    seen = 48 * (4 * 1000 + 1000 + 500) / 1000  # four views and the centre
    assert found.stage_hours["extract_imagenet"] == pytest.approx(seen / 3600)
    trained = found.gpu_hours
    assert trained == pytest.approx((3 * 30 + 45 * 10 + 4 * 12) * 1000 / 100 / 3600)
    assert f"on one {HERE.machine}" in str(found)


@pytest.mark.parametrize("row", ["a,b,c,fast,d", "a,b,c,0,d", "a,b,c,-1,d", "a,b,c"])
def test_a_damaged_file_is_named_with_its_line(row: str) -> None:
    keep(DEMO, HERE, IMAGES)
    with speeds.MEASURED.open("a", encoding="utf-8") as file:
        file.write(f"{row}\n")
    with pytest.raises(E2MCError, match=r"results/speeds\.csv, line 8 is no row of machine"):
        estimate(DEMO)
