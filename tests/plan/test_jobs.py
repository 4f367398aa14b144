"""The list of jobs; that it is the workflow's, tests/workflow/test_dag.py shows."""

from e2mc.config.protocols import PROTOCOLS
from e2mc.plan.jobs import STAGES, jobs
from tests.reporting.synthetic_results import experiment


def test_all_results_of_a_tree_are_one_job() -> None:
    data = {"inat18": None, "voc07": None, "transfer": {"flowers": {"root": "f"}}}
    small = experiment(data=data, evaluation={"few_shot": {"shots": [1, 5]}}, trials=1)
    found = {job.log: job for job in jobs(small)}
    few = found["logs/few_shot/swav-60-e2mc-trial0-flowers.log"]
    results = ("flowers-linear-1", "flowers-linear-5", "flowers-knn-1", "flowers-knn-5")
    folder = "evaluate/swav-60/e2mc/trial0"
    assert few.outputs == tuple(f"{folder}/{result}/metrics.json" for result in results)
    features = found["logs/extract_transfer/swav-60-e2mc-trial0.log"]
    folder = "features/swav-60/e2mc/trial0"
    splits = ("train", "test")
    assert features.outputs == tuple(f"{folder}/flowers-{one}" for one in splits)
    assert features.records == tuple(f"{folder}/flowers-{one}.json" for one in splits)


def test_stages_are_named_once() -> None:
    assert len(set(STAGES)) == len(STAGES)
    assert {protocol.stage for protocol in PROTOCOLS} <= set(STAGES)
    assert {job.stage for job in jobs(experiment())} <= set(STAGES)


def test_models_of_figure4_are_trained_with_their_snapshots() -> None:
    figure = {"bases": ["swav-60"], "epochs": 12, "every": 6}
    found = {job.log: job for job in jobs(experiment(figures={"figure4": figure}))}
    job = found["logs/trajectory/swav-60-e2mc-trial0.log"]
    plain = found["logs/pretrain/swav-60-e2mc-trial1.log"]
    folder = "pretrain/swav-60/e2mc/trial0"
    assert set(job.outputs) >= {f"{folder}/model.safetensors", f"{folder}/epoch12.safetensors"}
    assert job.records == (f"{folder}/metrics.json",)
    # one run, whether with snapshots or without
    assert job.state == plain.state.replace("trial1", "trial0")
    assert "logs/pretrain/swav-60-e2mc-trial0.log" not in found
    assert "logs/snapshots/swav-60-continued-trial0.log" in found
