"""One training on two nodes: its processes meet, and end where two processes of one machine end."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import small_experiment
from tests.slurm import cluster
from tests.slurm.head import Head, change, record, restarts
from tests.slurm.test_real_training import DEMO, MODEL, sha256, some_steps

pytestmark = [pytest.mark.cluster]

BASE = "scratch/swav-30"


def site(folder: Path, **settings: object) -> None:
    file = folder / "site.yaml"
    content: dict[str, Any] = yaml.safe_load(file.read_text()) if file.exists() else {}
    stage = content.setdefault("stages", {}).setdefault("pretrain_base", {})
    stage.update({"gpus": settings.pop("gpus"), "nodes": settings.pop("nodes")})
    file.write_text(yaml.safe_dump({**content, **settings}))


def test_processes_on_two_nodes_train_as_two_on_one(tmp_path: Path, checkout: Path) -> None:
    short = small_experiment.small_experiment()
    (checkout / "config/demo.yaml").write_text(yaml.safe_dump(short, sort_keys=False))
    site(checkout, nodes=2, gpus=1)
    Head(checkout, f"results/demo/{BASE}.pth", *DEMO).succeeds()
    job = record(checkout, BASE)
    assert (job["nodes"], job["tasks"], job["gpus"]) == (2, 2, 2)
    assert job["where"] == "g[1-2]"
    log = checkout / job["log"]
    assert "processes" in log.read_text()
    assert log.with_name("swav-30.rank1.log").exists()
    metrics = json.loads((checkout / f"results/demo/{BASE}.metrics.json").read_text())
    assert metrics["cost"]["processes"] == 2

    here = small_experiment.checkout(tmp_path / "here", short)
    site(here, nodes=1, gpus=2, backend="local", poll_seconds=1)
    Head(here, f"results/demo/{BASE}.pth", *DEMO).succeeds()
    assert sha256(here, f"{BASE}.pth") == sha256(checkout, f"{BASE}.pth")


@pytest.mark.slow
def test_two_nodes_preempted_train_as_two_processes_of_this_machine(
    local: Path, checkout: Path
) -> None:
    def two_nodes(site: dict[str, Any]) -> None:
        site["stages"]["pretrain"] |= {"nodes": 2}

    def two_processes(site: dict[str, Any]) -> None:
        site["stages"]["pretrain"] |= {"nodes": 1, "gpus": 2}
        site["backend"] = "local"

    target = f"results/demo/{MODEL}"
    change(checkout, "site.yaml", two_nodes)
    (local / "site.yaml").write_text((checkout / "site.yaml").read_text())
    change(local, "site.yaml", two_processes)
    Head(local, target, *DEMO).succeeds()
    head = Head(checkout, target, *DEMO)
    run = "pretrain/swav-30/e2mc/trial0"
    head.until(lambda: some_steps(checkout, run), "it is trained on two nodes")
    assert head.running_node("pretrain/swav-30-e2mc-trial0") == "g[1-2]"
    cluster.preempt("g1")
    head.succeeds()
    assert restarts(checkout, "pretrain/swav-30-e2mc-trial0") >= 1
    assert sha256(checkout, MODEL) == sha256(local, MODEL)
