"""docs/claims.md names commands, files and costs that exist."""

import re
from pathlib import Path

import pytest

from e2mc.config import load_experiment
from e2mc.plan import layout, needs
from e2mc.plan.estimate import estimate
from e2mc.plan.jobs import jobs

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
PAPER = load_experiment(ROOT / "config/paper.yaml")


def test_tests_that_are_named_exist() -> None:
    named = re.findall(r"`pytest (?:-m slow )?(\S+)`", PAGE)
    assert len(named) >= 4
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_files_that_are_named_are_written() -> None:
    outputs = {output for job in jobs(PAPER) for output in job.outputs}
    named = re.findall(r"`results/paper/(tables/\S+?)`", PAGE)
    assert len(named) == 6
    assert set(named) <= outputs


def test_the_gpu_hours_of_a_table_are_those_of_its_trainings() -> None:
    for table, hours in re.findall(r"snakemake (table\w+) .* \| (\d+) \|$", PAGE, re.MULTILINE):
        cells = [cell for cell in needs.table_inputs(PAPER, table) if cell.criterion != "base"]
        models = {layout.JOB.format(**cell._asdict()) for cell in cells}
        stages = ("pretrain", "trajectory")
        logs = {layout.LOG.format(stage=stage, job=model) for model in models for stage in stages}
        assert estimate(PAPER, only=logs).gpu_hours == pytest.approx(int(hours)), table
    (total,) = re.findall(r"\| ([\d,]+) in all", PAGE)
    assert estimate(PAPER).gpu_hours == pytest.approx(int(total.replace(",", "")))
