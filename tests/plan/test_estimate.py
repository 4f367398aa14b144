from pathlib import Path

import pytest

from e2mc.config import load_experiment
from e2mc.plan.estimate import estimate, readable

ROOT = Path(__file__).parents[2]


def test_the_paper_by_hand() -> None:
    """Three trials; Table D.2 has ten cells that are trained for it alone."""
    runs = {"vicreg": 6, "swav": 6 + 15 + 10, "simsiam": 6}
    hours = 2 * (10 * runs["vicreg"] + 13 * runs["swav"] + 14 * runs["simsiam"])
    imagenet = (11 * 1_281_167 + 50_000) * 2048 * 2  # ten views and the centre crop
    inat18 = (4 * 437_513 + 24_426) * 8192 * 2
    voc07 = (5_011 + 4_952) * 2048 * 2
    vicreg, swav, simsiam = 698_552_504, 113_648_304, 153_071_816
    trained = runs["vicreg"] * vicreg + runs["swav"] * swav + runs["simsiam"] * simsiam
    bases = 4
    features = (
        (43 + 3 * bases) * imagenet  # every trained model, and three passes over each base
        + 2 * 3 * bases * (inat18 + voc07)  # base and E2MC
    )
    found = estimate(load_experiment(ROOT / "config/paper.yaml"))
    assert found.training_runs == sum(runs.values()) == 43
    assert found.gpu_hours == pytest.approx(hours)
    assert found.feature_bytes == features
    assert found.bytes == features + trained + (vicreg + 2 * swav + simsiam)
    assert "about 1,094 GPU-hours" in str(found)
    assert "3.9 TB on disk (9.7 GB of weights, the rest is cached features)" in str(found)


def test_a_part_of_the_paper() -> None:
    paper = load_experiment(ROOT / "config/paper.yaml")
    model = "swav-400-e2mc-trial0"
    logs = [f"logs/{stage}/{model}.log" for stage in ("pretrain", "linear", "semisup")]
    found = estimate(paper, only={*logs, f"logs/extract_transfer/{model}.log"})
    features = 8192 * 2 * (4 * 437_513 + 24_426) + 2048 * 2 * (5_011 + 4_952)
    assert found == (1, 2, 26.0, features, 113_648_304)


def test_small_experiments_make_no_claim_of_time() -> None:
    found = estimate(load_experiment(ROOT / "config/demo.yaml"))
    assert found.gpu_hours is None
    assert found.bytes is None
    assert found.training_runs == 52
    counted = estimate(load_experiment(ROOT / "config/demo.yaml"), {"imagenet": (1297, 500)})
    models = 3 * 3 * 3 + 7 * 3 + 10  # three arms of three bases, seven rivals on SwAV, the grid
    features = (9 * 1297 + 500) * 256 * 2
    assert counted.bytes == models * features


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0 bytes"), (999, "999 bytes"), (1e4, "10 kB"), (3.6e12, "3.6 TB"), (1.4e9, "1.4 GB")],
)
def test_readable(size: float, text: str) -> None:
    assert readable(size) == text
