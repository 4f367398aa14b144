import pytest

from e2mc.config import Experiment
from e2mc.doctor.hours import benchmark
from e2mc.doctor.inputs import Counts
from e2mc.errors import E2MCError
from e2mc.plan.speeds import Speeds, planned
from e2mc.plan.work import total


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


def measure(experiment: Experiment, counts: Counts) -> Speeds:
    training, evaluation = total(experiment, counts)
    return Speeds("machine", dict.fromkeys({**training, **evaluation}, 1e6))


def test_every_kind_and_every_stage_with_work_is_said_and_kept(demo: Experiment) -> None:
    lines = list(benchmark(demo, measure))
    text = "\n".join(lines)
    assert lines[0] == "One machine, measured now and kept in results/speeds.csv:"
    assert "  pretrain swav                 1,000,000 images per second" in lines
    assert "  probe                                   1.0 MB per second" in lines
    for stage in ("scratch", "pretrain", "extract_imagenet", "linear_online", "semisup"):
        assert f"\n  {stage} " in text
    assert any(line.startswith("  machine ") for line in lines)
    assert planned(demo, {"fine-tune": 1.0}) is not None


def test_without_data_nothing_is_measured(demo: Experiment) -> None:
    missing = demo.data.imagenet.model_copy(update={"root": demo.data.imagenet.root / "nowhere"})
    data = demo.data.model_copy(update={"imagenet": missing})
    with pytest.raises(E2MCError, match="snakemake prepare"):
        list(benchmark(demo.model_copy(update={"data": data}), measure))
