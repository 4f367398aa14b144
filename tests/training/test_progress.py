import json

import pytest
import torch

from e2mc.files import write_json
from e2mc.training import progress as module
from e2mc.training.progress import Progress, reported
from e2mc.training.state import Interrupted

SPENT = {"seconds": 5000.0, "gpu_hours": 2.5, "restarts": 1}


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("earlier", "carried"),
    [
        ({"identity": "run", "status": "running", "cost": SPENT}, True),
        ({"identity": "run", "status": "interrupted", "cost": SPENT}, True),
        ({"identity": "run", "status": "finished", "cost": SPENT}, False),
        ({"identity": "another", "status": "running", "cost": SPENT}, False),
        ({"status": "running"}, False),
        (None, False),
    ],
    ids=["killed", "interrupted", "finished", "another run", "of an older version", "first start"],
)
def test_what_earlier_starts_have_cost_is_carried_over(tmp_path, earlier, carried):
    path = tmp_path / "progress.json"
    if earlier is not None:
        write_json(path, earlier)
    found = Progress(path, "run", 10, 2, 1).cost()
    assert (found["restarts"], found["gpu_hours"]) == ((2, 2.5) if carried else (0, 0))
    assert (found["seconds"] > 5000) == carried
    assert read(path)["cost"]["restarts"] == found["restarts"]


def test_a_damaged_file_is_no_obstacle(tmp_path):
    (tmp_path / "progress.json").write_text("{")
    assert Progress(tmp_path / "progress.json", "run", 10, 2, 1).cost()["restarts"] == 0


def test_rate_and_time_left_are_those_of_this_start(tmp_path, monkeypatch):
    clock = iter([100.0, 104.0, 112.0])
    progress = Progress(tmp_path / "progress.json", "run", 100, 10, 1)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    progress.start_at(60, 6, batch_size=32)
    progress.update(64, 6, torch.zeros(()))  # four steps in four seconds
    assert (progress.content["images_per_second"], progress.content["seconds_left"]) == (32.0, 36)
    progress.update(68, 6, torch.zeros(()))  # four in eight
    assert (progress.content["images_per_second"], progress.content["seconds_left"]) == (16.0, 48)


@pytest.mark.parametrize(
    ("error", "status"), [(Interrupted(), "interrupted"), (ValueError("no"), "failed")]
)
def test_the_outcome_is_left_behind(tmp_path, error, status):
    path = tmp_path / "progress.json"
    with pytest.raises(type(error)), reported(Progress(path, "run", 10, 2, 1)):
        raise error
    assert read(path)["status"] == status
