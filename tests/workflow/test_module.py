"""The workflow as a module of somebody else's, from another folder, as docs/module.md shows it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/module.md").read_text(encoding="utf-8")

STAND_IN = """#!/bin/sh
# makes the data and nothing else, and only if the head has written the experiment
while [ $# -gt 0 ]; do
    case $1 in --config) config=$2 ;; --output) output=$2 ;; esac
    shift
done
[ -s "$config" ] && mkdir -p "${output%/*}" && : > "$output"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The page's Snakefile, with the clone where it really is, and an `e2mc` that does little."""
    (snakefile,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "Snakefile").write_text(snakefile.replace("../e2mc", str(ROOT)))
    (tmp_path / "e2mc").write_text(STAND_IN)
    (tmp_path / "e2mc").chmod(0o755)
    return tmp_path


def snakemake(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_rule_of_ones_own_asks_for_a_table(folder: Path) -> None:
    output = snakemake(folder, "-n", "poster")
    assert re.search(r"^table +1$", output, re.MULTILINE)
    assert re.search(r"^pretrain +14$", output, re.MULTILINE)
    assert re.search(r"^poster +1$", output, re.MULTILINE)


def test_the_head_starts_as_in_the_clone(folder: Path) -> None:
    snakemake(folder, "results/demo/data/prepared.json")
    written = yaml.safe_load((folder / "results/demo/experiment.yaml").read_text())
    assert written["name"] == "demo"


def test_the_workflow_catalog_finds_the_same_workflow() -> None:
    """It asks for workflow/Snakefile, Snakemake itself for the one in the root."""
    tables = [
        snakemake(ROOT, "-n", *file, "table1").split("Job stats:")[1].split("Reasons:")[0]
        for file in ([], ["--snakefile", "workflow/Snakefile"])
    ]
    assert re.search(r"^pretrain +14$", tables[0], re.MULTILINE)
    assert tables[0] == tables[1]
