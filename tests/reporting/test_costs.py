"""Costs are summed per job: a job counts once, with the dearest of its records."""

import json
from pathlib import Path

from e2mc.files import write_text
from e2mc.plan.jobs import jobs
from e2mc.reporting.costs import Cost, costs, total
from e2mc.reporting.summary import summary
from tests.reporting.synthetic_results import all_cells, experiment, write_results


def record(results: Path, file: str, seconds: float, gpus: int, restarts: int = 0) -> None:
    cost = {"seconds": seconds, "gpus": gpus, "restarts": restarts}
    cost["gpu_hours"] = gpus * seconds / 3600
    names = [f"image{number}" for number in range(20_000)]
    path = results / file
    content = json.loads(path.read_text()) if path.exists() else {"dataset": "x"}
    write_text(path, json.dumps({**content, "cost": cost, "names": names}))


def test_costs_by_stage(tmp_path: Path) -> None:
    settings = experiment(trials=1)
    write_results(tmp_path, all_cells(settings))
    found = {job.log: job for job in jobs(settings)}
    model = "vicreg-60-e2mc-trial0"
    train, test = found[f"logs/extract_imagenet/{model}.log"].records
    record(tmp_path, train, 3600, 1)
    record(tmp_path, test, 3700, 1)
    for share, file in enumerate(found[f"logs/linear_online/{model}.log"].records):
        record(tmp_path, file, 90 * (share + 1), 0)
    for name in (model, "swav-60-e2mc-trial0"):
        (file,) = found[f"logs/pretrain/{name}.log"].records
        record(tmp_path, file, 7200, 2, restarts=1)
    by_stage = costs(settings, tmp_path)
    assert by_stage == {
        "pretrain": Cost(2, 14_400, 8.0, 2),
        "extract_imagenet": Cost(1, 3700, 3700 / 3600, 0),
        "linear_online": Cost(1, 180, 0, 0),
    }
    cost = "It took 9.0 GPU-hours and 5 h 5 min of computing; jobs: 4, restarts: 2."
    assert summary(settings, tmp_path).endswith(cost)


def test_results_without_a_record_cost_nothing_that_is_known(tmp_path: Path) -> None:
    settings = experiment(trials=1)
    for job in jobs(settings):
        for file in job.records:
            write_text(tmp_path / file, "{}")
    assert costs(settings, tmp_path) == {}
    assert total([]) == Cost(0, 0, 0, 0)
