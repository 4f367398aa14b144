"""Killed, stopped, out of disk: the final weights are those of an undisturbed run, bit by bit."""

import csv
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # DDP needs it: 3 s, which forked children then save

from e2mc.config.criteria import E2MC, CorInfoMax
from e2mc.config.settings import OnGPU, TrainSettings
from e2mc.data.sampling import epoch_batches
from e2mc.errors import E2MCError
from e2mc.models import load_state
from e2mc.training.distributed import Place
from e2mc.training.resumable import States, session
from e2mc.training.run import build_run
from e2mc.training.state import INTERRUPTED_STATUS, Interrupted, load_newest_state
from tests.training import tiny
from tests.training.tiny import CRITERION, RESULTS, in_children, join, tiny_settings, train

COVARIANCE = E2MC(space="hypersphere", entropy_weight=0, covariance_weight=1)
"""Its gradient does not depend on the order of tied rows, as that of the entropy does."""


def assert_same(first: Path, second: Path) -> None:
    a, b = load_state(first), load_state(second)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def losses(folder: Path) -> list[str]:
    lines = (folder / "history.csv").read_text().splitlines()
    return [line.rsplit(",", 2)[0] for line in lines]  # not the two that measure time


def first_step(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())["first_step"]
    return found


def newest_step(folder: Path) -> int:
    marks = [mark.stem.removeprefix("step-") for mark in folder.glob("state/step-*.sha256")]
    return max(map(int, marks), default=0)


def run_with_kills(settings, folder: Path, processes: int) -> int:
    """Kill -9 everything at a random moment some steps after each start, until it is done."""
    kills, dice = 0, random.Random(0)
    while not (folder / RESULTS[0]).exists():
        goal = newest_step(folder) + dice.randint(2, 9)
        children = in_children(train, settings, folder, processes=processes)
        while newest_step(folder) < goal and any(child.is_alive() for child in children):
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.02))
        killed = any(child.is_alive() for child in children)
        for child in children:
            child.kill()
            child.join()
        assert killed or (folder / RESULTS[0]).exists()
        kills += killed
    return kills


@pytest.mark.parametrize(
    ("method", "criterion"),
    [("vicreg", CRITERION), ("swav", CorInfoMax()), ("simsiam", None)],
    ids=["vicreg", "swav with queue and moving averages", "simsiam"],
)
def test_killed_many_times(images, tmp_path, save_every_step, method, criterion):
    settings = tiny_settings(images, method, criterion, epochs=12, schedule="cosine")
    join(in_children(train, settings, tmp_path / "undisturbed", processes=1))
    kills = run_with_kills(settings, tmp_path / "killed", processes=1)
    assert kills >= 2
    assert_same(tmp_path / "undisturbed" / RESULTS[0], tmp_path / "killed" / RESULTS[0])
    assert losses(tmp_path / "undisturbed") == losses(tmp_path / "killed")
    assert first_step(tmp_path / "undisturbed") == first_step(tmp_path / "killed")


def test_two_processes_killed(images, tmp_path, save_every_step):
    settings = tiny_settings(images, "simsiam", CRITERION, epochs=9)
    join(in_children(train, settings, tmp_path / "undisturbed", processes=2))
    kills = run_with_kills(settings, tmp_path / "killed", processes=2)
    assert kills >= 2
    assert_same(tmp_path / "undisturbed" / RESULTS[0], tmp_path / "killed" / RESULTS[0])
    assert losses(tmp_path / "undisturbed") == losses(tmp_path / "killed")


def test_signal_saves_and_exits_with_its_own_status(images, tmp_path):
    """As Slurm does it: a separate process gets SIGUSR2 while it trains."""
    script = [sys.executable, tiny.__file__, str(images), str(tmp_path / "stopped"), "400"]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "first step" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGUSR2)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED_STATUS, rest
    step, _ = load_newest_state(tmp_path / "stopped/state")
    assert f"stopped after step {step}" in rest
    assert 0 < step < 1200


def test_signal_to_one_of_two_processes_stops_both(images, tmp_path, save_every_step):
    settings = tiny_settings(images, "simsiam", epochs=200)
    children = in_children(train, settings, tmp_path, processes=2)
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob("state/*.sha256")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(children[1].pid, signal.SIGTERM)
    join(children, status=INTERRUPTED_STATUS)
    assert load_newest_state(tmp_path / "state")[0] < 600


def test_stopped_at_a_step_and_resumed(images, tmp_path, warn_after):
    settings = tiny_settings(images, criterion=CRITERION)
    train(settings, tmp_path / "undisturbed")
    warn_after(2, 3, 6)
    for step in (2, 3, 6):
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "stopped")
        assert newest_step(tmp_path / "stopped") == step
    train(settings, tmp_path / "stopped")
    assert_same(tmp_path / "undisturbed" / RESULTS[0], tmp_path / "stopped" / RESULTS[0])
    assert '"restarts": 3' in (tmp_path / "stopped/metrics.json").read_text()


@pytest.mark.parametrize("failing", [*RESULTS, "step-"])
def test_full_disk_then_space_again(images, tmp_path, monkeypatch, save_every_step, failing):
    settings = tiny_settings(images, criterion=CRITERION)
    train(settings, tmp_path / "undisturbed")
    replace, count = Path.replace, iter(range(100))

    def full(path: Path, target: Path) -> Path:
        if target.name.startswith(failing) and (failing != "step-" or next(count) >= 5):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(E2MCError, match="No space left on device"):
            train(settings, tmp_path / "full")
    assert load_newest_state(tmp_path / "full/state") is not None
    train(settings, tmp_path / "full")
    assert_same(tmp_path / "undisturbed" / RESULTS[0], tmp_path / "full" / RESULTS[0])
    assert losses(tmp_path / "undisturbed") == losses(tmp_path / "full")


def test_a_damaged_newest_state_costs_steps_but_not_bits(
    images, tmp_path, save_every_step, warn_after, capsys
):
    settings = tiny_settings(images)
    train(settings, tmp_path / "undisturbed")
    warn_after(5)
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "damaged")
    warn_after()
    newest = tmp_path / "damaged/state/step-000000000005.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    train(settings, tmp_path / "damaged")
    assert "step-000000000005.pt is damaged" in capsys.readouterr().err
    assert_same(tmp_path / "undisturbed" / RESULTS[0], tmp_path / "damaged" / RESULTS[0])


def with_damage(images: Path, folder: Path, *damaged: int) -> Path:
    """The images, some of them cut short."""
    root = Path(shutil.copytree(images, folder))
    for index in damaged:
        path = root / f"train/class{index // 8}/{index % 8}.png"
        path.write_bytes(path.read_bytes()[:80])
    return root


def skipping(root: Path, method: str, pipeline: str = "pillow", **more) -> TrainSettings:
    settings = tiny_settings(root, method, **more)
    views = settings.recipe.views.model_copy(update={"pipeline": pipeline})
    recipe = settings.recipe.model_copy(update={"views": views})
    return settings.model_copy(update={"recipe": recipe, "corrupt_images": "skip"})


def corrupt(folder: Path) -> list[int]:
    with (folder / "history.csv").open() as stream:
        return [int(row["corrupt_images"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("pipeline", ["pillow", "tensor"])
def test_corrupt_images_are_counted_across_kills_workers_and_processes(
    images, tmp_path, save_every_step, pipeline
):
    root = with_damage(images, tmp_path / "images", 10, 22, 23)
    settings = skipping(root, "simsiam", pipeline, epochs=4)
    train(settings, tmp_path / "undisturbed")
    assert corrupt(tmp_path / "undisturbed") == [3] * 4
    metrics = json.loads((tmp_path / "undisturbed/metrics.json").read_text())
    assert metrics["final"]["corrupt_images"] == 3
    working = settings.model_copy(update={"workers": 1})
    assert run_with_kills(working, tmp_path / "killed", processes=1) >= 1
    assert_same(tmp_path / "undisturbed" / RESULTS[0], tmp_path / "killed" / RESULTS[0])
    assert losses(tmp_path / "undisturbed") == losses(tmp_path / "killed")
    join(in_children(train, settings, tmp_path / "two", processes=2))
    assert corrupt(tmp_path / "two") == [3] * 4


def test_a_run_that_met_a_corrupt_image_goes_on_once_told_to_skip(
    images, tmp_path, save_every_step
):
    late = epoch_batches(np.arange(24), 8, tiny_settings(images).seed, epoch=0)[2][0]
    told = skipping(with_damage(images, tmp_path / "images", late), "vicreg")
    untold = told.model_copy(update={"corrupt_images": "stop"})
    train(told, tmp_path / "undisturbed")
    with pytest.raises(E2MCError, match=r"cannot decode image .*train/class\d/\d\.png"):
        train(untold, tmp_path / "stopped")
    assert newest_step(tmp_path / "stopped") == 2
    train(told, tmp_path / "stopped")
    assert '"restarts": 1' in (tmp_path / "stopped/metrics.json").read_text()
    assert_same(tmp_path / "undisturbed" / RESULTS[0], tmp_path / "stopped" / RESULTS[0])


def test_state_of_another_configuration_is_not_resumed(images, tmp_path, capsys):
    run, same, other = (
        build_run(settings, None, Place(0, 1, 0))
        for settings in (
            tiny_settings(images),
            tiny_settings(images).model_copy(update={"workers": 2}),
            tiny_settings(images, learning_rate=0.1),
        )
    )
    with session(tmp_path, OnGPU()) as here:
        run.step = 5
        States(tmp_path, here).between_steps(run, last=5)
        for resumed, step in ((same, 5), (other, 0)):
            States(tmp_path, here).resume(resumed)
            assert resumed.step == step
    assert "another configuration" in capsys.readouterr().out
    assert load_newest_state(tmp_path) is None


def test_another_number_of_processes_is_refused_unless_asked_for(
    images, tmp_path, monkeypatch, warn_after, capfd
):
    settings = tiny_settings(images, "simsiam", COVARIANCE, epochs=2, learning_rate=0.01)
    train(settings, tmp_path / "undisturbed")
    warn_after(2)
    moved = in_children(train, settings, tmp_path / "moved", processes=2)
    join(moved, status=INTERRUPTED_STATUS)
    with pytest.raises(E2MCError, match=r"saved by 2 process\(es\), this run has 1.*=1 in the env"):
        train(settings, tmp_path / "moved")
    monkeypatch.setenv("E2MC_ANY_PROCESSES", "1")
    train(settings, tmp_path / "moved")
    said = capfd.readouterr()
    assert "first step              2\n" in said.out
    assert "WARNING: the state in " in said.err and "to rounding only" in said.err
    cost = json.loads((tmp_path / "moved/metrics.json").read_text())["cost"]
    assert (cost["processes"], cost["processes_before"], cost["restarts"]) == (1, [2], 1)
    one, other = (load_state(tmp_path / name / RESULTS[0]) for name in ("undisturbed", "moved"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)


def test_frozen_prototypes_and_a_late_queue_survive_an_interruption(images, tmp_path, warn_after):
    late = {"freeze_prototypes_steps": 4, "queue_start_epoch": 1}
    settings = tiny_settings(images, "swav", CRITERION, epochs=3, **late)
    plain = tiny_settings(images, "swav", CRITERION, epochs=3)
    whole = train(settings, tmp_path / "whole")
    warn_after(2, 4)
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "cut")
    assert_same(whole, train(settings, tmp_path / "cut"))
    warn_after()
    other = load_state(train(plain, tmp_path / "plain"))["prototypes.weight"]
    assert not torch.equal(load_state(whole)["prototypes.weight"], other)
