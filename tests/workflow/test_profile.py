"""`snakemake --profile slurm`: what it selects, and that nothing on the command line undoes it.

Slurm itself is in tests/slurm; here the profile's jobs are processes of this machine.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.small_experiment import checkout, small_experiment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.yaml").write_text(yaml.safe_dump({"backend": "local", "poll_seconds": 1}))
    return checkout(tmp_path / "checkout", small_experiment())


def snakemake(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env={**os.environ, "E2MC_CLUSTER": str(folder.parent / "site.yaml")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_plans_the_paper_unless_told_otherwise(folder: Path) -> None:
    listed = ("-n", "all", "--verbose", "--profile", "slurm")
    assert "results/paper/" in snakemake(folder, *listed)
    plan = snakemake(folder, *listed, "--configfile", "config/demo.yaml")
    assert "results/demo/" in plan
    assert "results/paper/" not in plan


def test_jobs_are_submitted_whatever_the_configuration(folder: Path) -> None:
    target = "results/demo/checkpoints/swav-30.safetensors"
    configuration = ("--configfile", "config/demo.yaml", "--config", "description=another")
    snakemake(folder, target, "--profile", "slurm", *configuration)
    record = folder / "results/demo/.runs/jobs/scratch/swav-30/job.json"
    content = json.loads(record.read_text())
    assert (content["rule"], content["state"]) == ("scratch", "DONE")
    assert "epoch" in (folder / content["log"]).read_text()
    alone = snakemake(folder, target, "--cores", "1", *configuration)
    assert "Nothing to be done" in alone, (
        "moving between machine and cluster computes nothing again"
    )
