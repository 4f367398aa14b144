import os
import shutil
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import torch

from e2mc.cluster.settings import load_cluster
from e2mc.config import Experiment, load_experiment
from e2mc.doctor import machine

ROOT = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def paper() -> Experiment:
    return load_experiment(ROOT / "config/paper.yaml")


@pytest.fixture
def small() -> Experiment:
    return load_experiment(ROOT / "config/demo.yaml")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_free_disk_against_what_is_still_to_be_written(
    paper: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 240_000_000_000
    for free, level in ((needed, "error"), (2 * needed, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: Usage(free, 0, free))
        writable, space = machine.results_folder(paper, None)
        assert (writable.level, space.level) == ("ok", level)
        assert "features and weights take at most 241 GB" in space.what
        assert bool(space.remedy) == (level == "error")


def test_a_results_folder_that_cannot_be_written(small: Experiment, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file in the way")
    writable, _ = machine.results_folder(small, None)
    assert writable.level == "error"
    assert "results/demo cannot be written" in writable.what


def _gpus(monkeypatch: pytest.MonkeyPatch, count: int, bfloat16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Quadro RTX 8000")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)


def test_gpus_against_the_precision_asked_for(
    paper: Experiment, small: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    _gpus(monkeypatch, 2, bfloat16=False)
    (found,) = machine.devices(paper)
    assert found.level == "ok"
    assert found.what.startswith("2 GPU(s): Quadro RTX 8000; `make test-gpu`")
    cifar10 = load_experiment(ROOT / "config/cifar10.yaml")
    assert [one.level for one in machine.devices(cifar10)] == ["ok", "error"]
    _gpus(monkeypatch, 0)
    monkeypatch.setattr(shutil, "which", lambda command: None)
    for experiment, level in ((small, "ok"), (cifar10, "warning"), (paper, "error")):
        assert [one.level for one in machine.devices(experiment)] == [level]
    monkeypatch.setattr(shutil, "which", lambda command: f"/usr/bin/{command}")
    assert [one.level for one in machine.devices(paper)] == ["warning"]


@pytest.mark.parametrize(("present", "level"), [((), "ok"), (("sbatch",), "error")])
def test_slurm_is_complete_or_absent(
    small: Experiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    present: tuple[str, ...],
    level: str,
) -> None:
    for command in present:
        (tmp_path / command).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = machine.slurm(small)
    assert finding.level == level
    if level == "error":
        assert "not its squeue, sacct, scancel, srun, scontrol" in finding.what


def test_slurm_is_asked_whether_it_would_take_every_stage(
    small: Experiment, paper: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in machine.COMMANDS:
        (tmp_path / command).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / command).chmod(0o755)
    refuse = "grep -q gpus-per-node && { echo 'sbatch: error: no GPUs here' >&2; exit 1; }; exit 0"
    (tmp_path / "sbatch").write_text(f"#!/bin/sh\necho >> $0.calls\n{refuse}\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("E2MC_CLUSTER", str(ROOT / "slurm/cluster.yaml"))
    for experiment, level in ((paper, "error"), (small, "warning")):
        accepted, refused = machine.slurm(experiment, ROOT / "slurm/cluster.yaml")
        assert accepted.level == "ok"
        assert "import_checkpoint" in accepted.what
        assert refused.level == level
        assert "scratch, pretrain" in refused.what
        assert "no GPUs here" in refused.what
    kinds = {repr(stage) for stage in load_cluster(ROOT / "slurm/cluster.yaml").stages.values()}
    asked = (tmp_path / "sbatch.calls").read_text()
    assert asked.count("\n") <= 2 * len(kinds), "once for all stages that want the same"
    (tmp_path / "sacct").write_text("#!/bin/sh\nexit 1\n")
    assert "accounting" in next(machine.slurm(paper, ROOT / "slurm/cluster.yaml")).what


def test_a_controller_that_is_away_is_asked_once(
    paper: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in machine.COMMANDS:
        (tmp_path / command).write_text("#!/bin/sh\necho >> $0.calls\nexit 1\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("E2MC_CLUSTER", str(ROOT / "slurm/cluster.yaml"))
    (finding,) = machine.slurm(paper, ROOT / "slurm/cluster.yaml")
    assert finding.level == "error"
    assert "controller does not answer" in finding.what
    assert [file.name for file in tmp_path.glob("*.calls")] == ["scontrol.calls"]


def test_package_versions_against_the_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.level for one in machine.packages()] == ["ok"]
    original = metadata.version
    old = {"snakemake": "8.0.0"}
    monkeypatch.setattr(metadata, "version", lambda name: old.get(name) or original(name))
    (finding,) = machine.packages()
    assert finding.level == "error"
    assert "snakemake 8.0.0 (needs <10,>=9.9)" in finding.what
