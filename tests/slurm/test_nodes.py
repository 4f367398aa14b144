"""One training on two nodes: its processes meet, and end where two processes of one machine end."""

import json
import shutil
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


def spread(folder: Path, rule: str, nodes: int, gpus: int, **settings: object) -> None:
    """Let the jobs of a rule have so many nodes, with so many processes on each."""

    def edit(site: dict[str, Any]) -> None:
        site["stages"][rule] |= {"nodes": nodes, "gpus": gpus}
        site.update(settings)

    change(folder, "site.yaml", edit)


def test_processes_on_two_nodes_train_as_two_on_one(tmp_path: Path, checkout: Path) -> None:
    short = small_experiment.small_experiment()
    (checkout / "config/demo.yaml").write_text(yaml.safe_dump(short, sort_keys=False))
    spread(checkout, "scratch", nodes=2, gpus=1)
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
    shutil.copy(checkout / "site.yaml", here)
    spread(here, "scratch", nodes=1, gpus=2, backend="local")
    Head(here, f"results/demo/{BASE}.pth", *DEMO).succeeds()
    assert sha256(here, f"{BASE}.pth") == sha256(checkout, f"{BASE}.pth")


@pytest.mark.slow
def test_two_nodes_preempted_train_as_two_processes_of_this_machine(
    local: Path, checkout: Path
) -> None:
    target = f"results/demo/{MODEL}"
    spread(checkout, "pretrain", nodes=2, gpus=1)
    shutil.copy(checkout / "site.yaml", local)
    spread(local, "pretrain", nodes=1, gpus=2, backend="local")
    Head(local, target, *DEMO).succeeds()
    head = Head(checkout, target, *DEMO)
    run = "pretrain/swav-30/e2mc/trial0"
    head.until(lambda: some_steps(checkout, run), "it is trained on two nodes")
    assert head.running_node("pretrain/swav-30-e2mc-trial0") == "g[1-2]"
    cluster.preempt("g1")
    head.succeeds()
    assert restarts(checkout, "pretrain/swav-30-e2mc-trial0") >= 1
    assert sha256(checkout, MODEL) == sha256(local, MODEL)
