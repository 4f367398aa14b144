"""Records of jobs on disk."""

from pathlib import Path

import pytest

from e2mc.cluster.records import Record, job_name, read_record


def record(log: str = "results/x/logs/pretrain/a.log") -> Record:
    return Record("pretrain", job_name(log), "true", "f", log, 1, gpus=0, nodes=1, job_id="12")


def test_records_lie_beside_the_logs_and_a_damaged_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = record()
    assert job.name == "x/pretrain/a"
    assert job.folder == Path("results/x/.runs/jobs/pretrain/a")
    assert read_record(job.log) is None
    job.write()
    assert read_record(job.log) == job
    (job.folder / "job.json").write_text("{")
    assert read_record(job.log) is None
