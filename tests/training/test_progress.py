import json
from types import SimpleNamespace

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


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when the test says so."""
    now = SimpleNamespace(value=100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: now.value)
    return now


def after(progress, clock, seconds, step):
    clock.value += seconds
    progress.update(step, 6, torch.zeros(()))
    return progress.content["images_per_second"], progress.content["seconds_left"]


def test_rate_and_time_left_are_those_of_this_start(tmp_path, clock):
    progress = Progress(tmp_path / "progress.json", "run", 100, 10, 1)
    progress.start_at(60, 6, batch_size=32)
    assert after(progress, clock, 50, 61) == (None, None)  # the first step tells nothing
    assert after(progress, clock, 4, 65) == (32.0, 35)  # four steps in four seconds
    assert after(progress, clock, 8, 69) == (16.0, 62)  # the later half: four in eight


def test_a_slow_beginning_is_forgotten(tmp_path, clock):
    """Ten slow steps, then fast ones: soon the time left is that of the fast ones."""
    progress = Progress(tmp_path / "progress.json", "run", 1000, 10, 1)
    progress.start_at(0, 0, batch_size=1)
    for step in range(1, 11):
        after(progress, clock, 30, step)
    for step in range(20, 1000, 10):
        _, left = after(progress, clock, 10, step)
        if step >= 600:
            assert left == 1000 - step


def test_later_parts_count_in_steps_of_this_one(tmp_path, clock):
    progress = Progress(tmp_path / "progress.json", "run", 100, 10, 1)
    progress.start_at(0, 0, batch_size=1, left=40)
    after(progress, clock, 1, 1)
    assert after(progress, clock, 9, 10) == (1.0, 30)


@pytest.mark.parametrize(
    ("error", "status"), [(Interrupted(), "interrupted"), (ValueError("no"), "failed")]
)
def test_the_outcome_is_left_behind(tmp_path, error, status):
    path = tmp_path / "progress.json"
    with pytest.raises(type(error)), reported(Progress(path, "run", 10, 2, 1)):
        raise error
    assert read(path)["status"] == status
