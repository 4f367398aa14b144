from pathlib import Path

import pytest

from e2mc.config import load_experiment
from e2mc.plan.estimate import estimate

ROOT = Path(__file__).parents[2]


VECTOR = 2048 * 2
IMAGENET = (11 * 1_281_167 + 50_000) * VECTOR  # ten views and the centre crop
TRANSFER = ((4 * 437_513 + 24_426) * 4 + 5_011 + 4_952) * VECTOR


def test_the_paper_by_hand() -> None:
    """Three trials; Table D.2 has ten cells that are trained for it alone; four models of Figure 4
    go on to epoch 30.
    """
    runs = {"vicreg": 6, "swav": 6 + 15 + 10, "simsiam": 6}
    hours = 2 * (10 * runs["vicreg"] + 13 * runs["swav"] + 14 * runs["simsiam"])
    hours += 2 * 2 * 2 * (10 + 13)
    vicreg, swav, simsiam = 698_552_504, 113_648_304, 153_071_816
    trained = runs["vicreg"] * vicreg + runs["swav"] * swav + runs["simsiam"] * simsiam
    found = estimate(load_experiment(ROOT / "config/paper.yaml"))
    assert found.training_runs == sum(runs.values()) == 43
    assert found.gpu_hours == pytest.approx(hours)
    assert found.model_feature_bytes == IMAGENET + TRANSFER < 120e9
    assert found.feature_bytes == 4 * IMAGENET
    assert found.bytes == 4 * IMAGENET + trained + (vicreg + 2 * swav + simsiam) < 0.4e12
    assert "about 1,278 GPU-hours of training at the paper's speed and" in str(found)
    assert "at most 241 GB on disk (9.7 GB of weights, the rest is cached features, " in str(found)
    assert "up to 87 GB of a model, deleted when its evaluations are done)" in str(found)


def test_hours_of_evaluation_by_hand() -> None:
    paper = load_experiment(ROOT / "config/paper.yaml")
    listed, forward = 12_811.67 + 128_116.7, {"float32": 1261, "float16": 3382}
    models, transferred, tuned, reading = 45, 24, 18, 1e9
    for precision, rate in forward.items():
        evaluation = paper.evaluation.model_copy(update={"precision": precision})
        found = estimate(paper.model_copy(update={"evaluation": evaluation}))
        seconds = (
            models * (IMAGENET / VECTOR) / rate
            + transferred * (4 * 437_513 + 24_426 + 5_011 + 4_952) / rate
            + (models + 10) * (100 * listed + 50_000) / rate  # and the ten cells of Table D.2
            + 4 * 31 * (100 * 12_811.67 + 50_000) / 1261  # Figure 4, epochs 0 to 30
            + tuned * 20 * (listed / 367 + 2 * 50_000 / 1261)
            + models * 100 * 1_281_167 * VECTOR / reading
            + transferred * 84 * 437_513 * 4 * VECTOR / reading
        )
        assert found.evaluation_hours == pytest.approx(seconds / 3600, rel=1e-3)


def test_features_that_are_kept_are_all_there_at_once() -> None:
    paper = load_experiment(ROOT / "config/paper.yaml")
    evaluation = paper.evaluation.model_copy(update={"keep_features": True})
    found = estimate(paper.model_copy(update={"evaluation": evaluation}))
    assert found.feature_bytes == 45 * IMAGENET + 24 * TRANSFER
    assert "up to 87 GB of a model, kept)" in str(found)


def test_a_part_of_the_paper() -> None:
    paper = load_experiment(ROOT / "config/paper.yaml")
    model = "swav-400-e2mc-trial0"
    logs = [f"logs/{stage}/{model}.log" for stage in ("pretrain", "linear", "semisup")]
    found = estimate(paper, only={*logs, f"logs/extract_transfer/{model}.log"})
    assert (found.training_runs, found.evaluations) == (1, 2)
    assert found.gpu_hours == pytest.approx(26)
    assert found.feature_bytes == found.model_feature_bytes == TRANSFER
    assert found.weight_bytes == 113_648_304


def test_small_experiments_make_no_claim_of_time() -> None:
    found = estimate(load_experiment(ROOT / "config/demo.yaml"))
    assert found.gpu_hours is found.evaluation_hours is None
    assert found.bytes is None
    assert found.training_runs == 52
    counted = estimate(load_experiment(ROOT / "config/demo.yaml"), {"imagenet": (1297, 500)})
    models = 3 * 3 * 3 + 7 * 3  # three arms of three bases, seven rivals on SwAV; no grid
    assert counted.bytes == models * (5 * 1297 + 500) * 64 * 2, "the demo keeps its features"
