from pathlib import Path

from e2mc.config import load_experiment
from e2mc.files import write_json
from e2mc.plan import layout
from e2mc.reporting.checklist import NOT_YET, checklist

ROOT = Path(__file__).parents[2]
DEMO = load_experiment(ROOT / "config/demo.yaml")


def test_before_anything_has_run(tmp_path: Path) -> None:
    text = checklist(DEMO, tmp_path)
    assert f"**Devices:** {NOT_YET}" in text
    assert "**Runs:** 3 trials" in text
    assert "52 training runs" in text


def test_what_made_the_results_is_counted(tmp_path: Path) -> None:
    names = {"base": "swav-30", "criterion": "base", "protocol": "linear-1"}
    for trial, dirty in ((0, False), (1, True)):
        record = {
            "provenance": {
                "code": {"commit": "abc", "dirty": dirty},
                "packages": {"torch": "2.13.0"},
                "device": "cpu",
                "machine": "Linux",
            },
            "cost": {"seconds": 60.0, "gpu_hours": 0.5, "restarts": 0},
        }
        write_json(tmp_path / layout.METRICS.format(trial=trial, **names), record)
    text = checklist(DEMO, tmp_path)
    assert "**Commit:** abc (1 results); abc with changes (1 results)" in text
    assert "**Devices:** cpu (2 results)" in text
    assert "1.0 GPU-hours and 2 min of computing; jobs: 2" in text


def test_checkpoints_are_named_with_hash_and_size(tmp_path: Path) -> None:
    base = next(iter(DEMO.bases))
    assert "Checkpoint" not in checklist(DEMO, tmp_path)
    source = {"sha256": "ab12", "bytes": 345, "hash": "pinned at first download"}
    write_json(tmp_path / layout.CHECKPOINT_RECORD.format(base=base), {"source": source})
    told = f"**Checkpoint {base}:** sha256 ab12, 345 bytes; hash pinned at first download"
    assert told in checklist(DEMO, tmp_path)


def test_the_full_scale_names_its_data() -> None:
    paper = load_experiment(ROOT / "config/paper.yaml")
    text = checklist(paper, Path("results/paper"))
    assert "1,281,167 training and 50,000 test images" in text
    assert "about 1,278 GPU-hours" in text
