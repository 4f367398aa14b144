"""`e2mc status` as a person reads it."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2mc.cli import main
from e2mc.cluster.records import Record
from e2mc.errors import E2MCError
from e2mc.files import write_json, write_text
from e2mc.lock import locked
from e2mc.plan.jobs import Job, jobs
from e2mc.status.report import WIDTH, report
from tests.reporting.synthetic_results import experiment

RESULTS = Path("results/synthetic")


@pytest.fixture(autouse=True)
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment with a very long name for one of its bases, half of it done."""
    monkeypatch.chdir(tmp_path)
    long = "vicreg-on-our-own-photographs-1000"
    settings = experiment(bases={long: {"method": "vicreg", "epochs": 60}}, tables={})
    write_text(RESULTS / "experiment.yaml", yaml.safe_dump(settings.model_dump(mode="json")))
    for job in jobs(settings):
        if job.stage in ("scratch", "import_checkpoint") or is_base(job):
            for file in job.outputs:
                write_text(RESULTS / file, "{}")
    trained = next(job for job in jobs(settings) if job.stage == "pretrain")
    progress = {
        **{"status": "running", "epoch": 2, "epochs": 10, "step": 7511, "steps": 25_022},
        **{"images_per_second": 1812.4, "seconds_left": 15_000, "updated": time.time()},
        **{"host": "vm", "pid": 1, "cost": {"restarts": 2, "slurm_job": None}},
    }
    write_json(RESULTS / str(trained.state) / "progress.json", progress)
    record(trained.log, "RUNNING", job_id="117", where="g1")
    probe = next(job for job in jobs(settings) if job.stage == "linear")
    record(probe.log, "PENDING", job_id="118", submitted=time.time() - 720)
    failed = next(
        job for job in jobs(settings) if job.stage == "extract_imagenet" and not job_done(job)
    )
    write_text(RESULTS / failed.log, f"line\n{'x' * 300}\ne2mc extract: the disk is full\n")


def is_base(job: Job) -> bool:
    return job.stage == "extract_imagenet" and job.name.endswith("base-trial0")


def job_done(job: Any) -> bool:
    return all((RESULTS / file).exists() for file in job.outputs)


def record(log: str, state: str, **more: Any) -> None:
    known = {"rule": "r", "name": "n", "command": "c", "fingerprint": "f", "tasks": 1, "gpus": 1}
    Record(**known, nodes=1, log=str(RESULTS / log), state=state, **more).write()


def test_everything_that_needs_a_look_stands_there_one_by_one() -> None:
    with locked(RESULTS / ".head"):
        text = report(None)
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    assert all(line.isprintable() for line in text.splitlines())
    plain = " ".join(text.split())
    assert "synthetic: 3 of " in plain and "snakemake is at work: process" in plain
    for shown in (
        "epoch 3/10, step 7,511/25,022, 1,812 images/s, 4 h 10 min left, job 117 on g1, 2 restarts",
        "job 118, PENDING for 12 min",
        "e2mc extract: the disk is full",
        "| line | xxx",
    ):
        assert shown in plain
    assert "\nnot started" not in text and "\ndone" not in text


def test_without_a_head_nobody_looks_at_the_queue() -> None:
    text = " ".join(report(None).split())
    assert "no snakemake is at work" in text
    assert re.search(r"job 118, PENDING when a snakemake last looked, \d+ s ago", text)


def test_all_jobs_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    main(["status", "--all"])
    text = capsys.readouterr().out
    settings = yaml.safe_load((RESULTS / "experiment.yaml").read_text())
    for job in jobs(experiment(bases=settings["bases"], tables={})):
        assert f"  {job.stage}/{job.name}" in text


def test_the_table_adds_up() -> None:
    text = report(None)
    head, *rows = text.split("\n\n")[1].splitlines()
    assert head.split()[0] == "stage"
    total = sum(int(cell) for row in rows for cell in row.split()[1:] if cell != "-")
    assert f" of {total} jobs done" in text


def test_a_mistake_in_one_experiment_does_not_hide_another() -> None:
    write_text("results/broken/experiment.yaml", "name: broken\ntrails: 3\n")
    text = report(None)
    assert "did you mean 'trials'?" in text
    assert "synthetic: 3 of" in text


def test_an_experiment_that_is_not_there_is_a_clear_message() -> None:
    with pytest.raises(SystemExit, match=r"e2mc status: cannot read .*papr\.yaml"):
        main(["status", "--config", "config/papr.yaml"])


def test_where_nothing_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(E2MCError, match=r"nothing has been started in .*empty"):
        report(None)


def test_it_starts_without_anything_heavy() -> None:
    heavy = ("torch", "numpy", "pandas", "scipy", "submitit", "snakemake")
    code = (
        "import json, sys; from e2mc.cli import main; main(['status']);"
        f"print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
