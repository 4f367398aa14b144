"""The whole demo on the test cluster with everything in its way: the tables of an undisturbed run.

Half an hour on two cores, most of it the demo itself, twice.
"""

import json
from pathlib import Path

import pytest
import yaml

from tests import small_experiment
from tests.slurm import cluster
from tests.slurm.head import Head, record, submissions
from tests.slurm.test_real_training import run_here

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

DEMO = ("all", "--jobs", "4", "--configfile", "config/demo.yaml")


def whole_demo() -> dict[str, object]:
    content = yaml.safe_load((small_experiment.ROOT / "config/demo.yaml").read_text())
    assert isinstance(content, dict)
    return content


def shown(folder: Path) -> dict[str, bytes]:
    """Everything that a reader of the results looks at."""
    results = folder / "results/demo"
    files = [
        file for part in ("tables", "statistics", "figures") for file in results.glob(f"{part}/*")
    ]
    return {str(file.relative_to(results)): file.read_bytes() for file in files}


def some_running(folder: Path, stage: str) -> str | None:
    """A job of this stage that runs at this moment, `pretrain/swav-30-e2mc-trial0` say."""
    for file in sorted((folder / "results/demo/.runs/jobs" / stage).glob("*/job.json")):
        if json.loads(file.read_text())["state"] == "RUNNING":
            return f"{stage}/{file.parent.name}"
    return None


def test_the_demo_survives_everything(tmp_path: Path, checkout: Path) -> None:
    for folder in (tmp_path / "undisturbed", checkout):
        if folder != checkout:
            small_experiment.checkout(folder, whole_demo())
        (folder / "config/demo.yaml").write_text(yaml.safe_dump(whole_demo(), sort_keys=False))
    run_here(tmp_path / "undisturbed", "all")

    def running(stage: str) -> str:
        return head.until(lambda: some_running(checkout, stage), f"a job of {stage} runs", 600)

    head = Head(checkout, *DEMO)
    preempted = [running("scratch")]
    cluster.preempt(head.running_node(preempted[0]))
    preempted.append(running("pretrain"))
    cluster.preempt(head.running_node(preempted[1]))

    out_of_time = str(record(checkout, running("pretrain"))["job_id"])
    cluster.run("scancel", "--signal=USR2", out_of_time)

    node = head.running_node(running("features"))
    cluster.kill_node(node, noticed=True)
    running("linear")
    head.kill()
    cluster.revive_node(node)

    screen = Head(checkout, *DEMO).succeeds(3600)
    assert "found again as job" in screen
    assert max(submissions(checkout).values()) <= 2
    expected = shown(tmp_path / "undisturbed")
    assert len(expected) > 20
    assert shown(checkout) == expected
