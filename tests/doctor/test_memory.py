from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from e2mc.config import Experiment, load_experiment
from e2mc.data import loading
from e2mc.doctor import memory

ROOT = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def paper() -> Experiment:
    return load_experiment(ROOT / "config/paper.yaml")


def use_gpus(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    properties = SimpleNamespace(total_memory=int(gigabytes * 1e9))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gigabytes > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(memory.shutil, "which", lambda command: None)


@pytest.mark.parametrize(
    ("gigabytes", "levels"),
    [
        (0, ["ok"]),
        (24, ["error", "error", "error"]),
        (80, ["warning", "error", "ok"]),  # all 512 images on one GPU
        (52, ["warning", "error", "error"]),
        (141, ["ok"]),
    ],
)
def test_what_a_gpu_lacks_is_said_before_hours_are_spent(
    paper: Experiment, monkeypatch: pytest.MonkeyPatch, gigabytes: float, levels: list[str]
) -> None:
    use_gpus(monkeypatch, gigabytes)
    found = list(memory.gpus(paper))
    assert [one.level for one in found] == levels
    assert all(("checkpointing: true" in one.remedy) == (one.level != "ok") for one in found)


def test_small_networks_on_a_cpu_are_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpus(monkeypatch, 0)
    assert list(memory.gpus(load_experiment(ROOT / "config/demo.yaml"))) == []


def test_a_site_says_what_its_gpus_have(
    paper: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_gpus(monkeypatch, 0)
    monkeypatch.setattr(memory.shutil, "which", lambda command: command)
    monkeypatch.setenv("E2MC_CLUSTER", str(tmp_path / "site.yaml"))
    (tmp_path / "site.yaml").write_text("partitions: {gpu: {gpu_memory_gb: 32}}\n")
    found = list(memory.gpus(paper, ROOT / "slurm/cluster.yaml"))
    assert [one.level for one in found] == ["error", "error", "ok"]
    assert "methods.swav.continued 37 GB for 256 images, and it has 32 GB" in found[0].what
    assert "stages.pretrain.gpus" in found[0].remedy
    assert "methods.vicreg.continued 26 GB" in found[2].what


def test_loader_processes_against_cpus_and_shared_memory(
    paper: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "SHARED", tmp_path)
    for cpus, size, levels in (
        (12, 64e6, ["warning", "error"]),  # Docker's default
        (13, 64e6, ["error"]),
        (16, 16e9, ["ok"]),
    ):
        monkeypatch.setattr(loading, "usable_cpus", lambda cpus=cpus: cpus)
        monkeypatch.setattr(
            memory.shutil, "disk_usage", lambda path, size=size: Usage(int(size), 0, 0)
        )
        found = list(memory.loaders(paper))
        assert [one.level for one in found] == levels
        assert "fill up to 5.7 GB" in found[-1].what
    assert list(memory.loaders(load_experiment(ROOT / "config/demo.yaml"))) == []


def test_there_is_at_least_one_usable_cpu() -> None:
    assert loading.usable_cpus() >= 1
