from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import small_experiment
from tests.slurm import cluster as test_cluster
from tests.slurm.head import write_site


@pytest.fixture(scope="session", name="cluster")
def running_cluster() -> Iterator[None]:
    """The test cluster is up. One that was running before the tests is left running."""
    found = test_cluster.is_up()
    try:
        test_cluster.start()
    except test_cluster.UnavailableError as reason:
        pytest.skip(str(reason))
    if not found:
        test_cluster.wait_until(test_cluster.is_idle, 120, "all nodes are idle")
    yield
    if not found:
        test_cluster.stop()


@pytest.fixture(scope="session")
def experiment() -> dict[str, Any]:
    """The small experiment, without snapshots; its trainings last long enough to be disturbed."""
    content: dict[str, Any] = small_experiment.small_experiment()
    content["figures"] = {}
    for part in ("scratch", "continued"):
        content["methods"]["swav"][part]["epochs"] = 12
    return content


@pytest.fixture
def checkout(tmp_path: Path, cluster: None, experiment: dict[str, Any]) -> Path:
    """The workflow with that experiment, and what it must know of the test cluster."""
    folder = small_experiment.checkout(tmp_path / "checkout", experiment)
    shipped = yaml.safe_load((folder / "slurm/cluster.yaml").read_text())["stages"]
    one = {"cpus": 1, "memory_gb": 2, "hours": 0.5}
    small = {
        stage: {**one, "gpus": 1} if site["partition"] == "gpu" else one
        for stage, site in shipped.items()
    }
    write_site(folder, small)
    return folder


@pytest.fixture
def local(tmp_path: Path, cluster: None, experiment: dict[str, Any]) -> Path:
    """The same without a cluster: where this machine makes what has to come out."""
    return small_experiment.checkout(tmp_path / "local", experiment)
