"""What a site may say, and what it is told when it says it wrong."""

import re
from pathlib import Path

import pytest
import yaml

from e2mc.cluster.settings import Partition, load_cluster
from e2mc.errors import E2MCError
from e2mc.plan.jobs import STAGES

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "slurm/cluster.yaml"


@pytest.fixture(autouse=True)
def no_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("E2MC_CLUSTER", raising=False)


def test_every_stage_that_is_submitted_is_described() -> None:
    local = re.search(r"localrules:\n((?:    \w+,\n)+)", (ROOT / "Snakefile").read_text())
    assert local is not None
    here = set(re.findall(r"\w+", local[1]))
    assert set(load_cluster(SHIPPED).stages) == set(STAGES) - here


def test_no_sites_values_are_shipped() -> None:
    for place in load_cluster(SHIPPED).partitions.values():
        assert place == Partition()


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_sites_own_file_is_laid_over_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    site = tmp_path / (".config/e2mc/cluster.yaml" if not by_variable else "elsewhere.yaml")
    site.parent.mkdir(parents=True, exist_ok=True)
    own = {"partitions": {"gpu": {"account": "lab"}}, "stages": {"pretrain": {"gpus": 8}}}
    site.write_text(yaml.safe_dump(own))
    if by_variable:
        monkeypatch.setenv("E2MC_CLUSTER", str(site))
    shipped, cluster = yaml.safe_load(SHIPPED.read_text()), load_cluster(SHIPPED)
    assert cluster.partitions["gpu"].account == "lab"
    assert cluster.stages["pretrain"].gpus == 8
    assert cluster.stages["pretrain"].hours == shipped["stages"]["pretrain"]["hours"]
    assert cluster.stages["scratch"].gpus == shipped["stages"]["scratch"]["gpus"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"stages": {"linear": {"gpus": 2}}}, "stages.linear: runs in one process"),
        ({"stages": {"pretrain": {"houres": 2}}}, "did you mean 'hours'?"),
        ({"stages": {"pretrain": {"hours": 0}}}, "greater than 0"),
        ({"stages": {"pretrain": {"partition": "fast"}}}, "no 'fast' under partitions (gpu, cpu)"),
        ({"backend": "local", "setup": ["module load x"]}, "backend local: one node, and no setup"),
        ({"backend": "pbs"}, "'slurm' or 'local'"),
        ({"warning_seconds": 3600, "stages": {"knn": {"hours": 1}}}, "stages.knn.hours"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: dict[str, object], message: str
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump(own))
    monkeypatch.setenv("E2MC_CLUSTER", str(site))
    with pytest.raises(E2MCError) as error:
        load_cluster(SHIPPED)
    assert message in str(error.value)
    assert "docs/cluster.md" in str(error.value)


def test_a_named_file_that_is_not_there_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2MC_CLUSTER", str(tmp_path / "nowhere.yaml"))
    with pytest.raises(E2MCError, match="E2MC_CLUSTER, is not there"):
        load_cluster(SHIPPED)
