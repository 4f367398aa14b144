"""`snakemake --logger progress` shows little, and never too little."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_logger_plugin_progress import Pace

ROOT = Path(__file__).parents[1]

SNAKEFILE = """
from snakemake.logging import logger

rule all:
    input: "third"

for number, name in enumerate(["first", "second", "third"]):
    rule:
        name: name
        input: [["first", "second", "third"][number - 1]] if number else []
        output: name
        log: f"logs/{name}"
        message: f"Making {name}"
        shell: "touch {output}; echo words of {output} > {log}; [ {output} != 'FAILS' ]"
"""


def snakemake(folder: Path, fails: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "Snakefile").write_text(SNAKEFILE.replace("FAILS", fails))
    command = [sys.executable, "-m", "snakemake", "all", "--cores", "1", "--logger", "progress"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command += ["--show-failed-logs", "--quiet", "host"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_run_without_errors_is_a_few_lines(tmp_path: Path) -> None:
    done = snakemake(tmp_path)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "4 of 4 jobs"
    assert len(done.stderr.splitlines()) <= 3


def test_a_run_with_nothing_to_do_says_so(tmp_path: Path) -> None:
    snakemake(tmp_path)
    again = snakemake(tmp_path)
    assert again.returncode == 0
    assert again.stderr.startswith("Nothing to be done (all requested files are present")


def test_an_error_is_shown_in_full_with_its_log(tmp_path: Path) -> None:
    done = snakemake(tmp_path, fails="second")
    assert done.returncode == 1
    assert "Error in rule second" in done.stderr
    assert "words of second" in done.stderr
    assert "touch second" in done.stderr


def test_the_time_left_of_equal_jobs_two_at_a_time() -> None:
    """Forty jobs of ten seconds, two at a time: after ten pairs, as many again."""
    pace = Pace({"linear": 40}, now=0.0)
    now = 0.0
    assert pace.seconds_left(now) is None
    for pair in range(10):
        for job in (2 * pair, 2 * pair + 1):
            pace.start(job, "linear", now)
        now += 10
        for job in (2 * pair, 2 * pair + 1):
            pace.finish(job, now)
    assert pace.seconds_left(now) == pytest.approx(100)


def test_long_jobs_at_the_start_say_nothing_about_short_ones() -> None:
    pace = Pace({"scratch": 1, "table": 9}, now=0.0)
    pace.start(0, "scratch", 0.0)
    pace.finish(0, 90.0)
    pace.start(1, "table", 90.0)
    pace.finish(1, 91.0)
    assert pace.seconds_left(91.0) == pytest.approx(8)
