"""One base model through every stage: killed and started again, the bytes are the same.

The experiment is the demo with a single base, few epochs and one trial. Killing means kill -9 of
Snakemake and all its children in the middle of the work.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small_experiment import checkout, shown, small_experiment


@pytest.fixture(scope="module")
def experiment() -> dict[str, object]:
    return small_experiment()


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "snakemake", "all", "--cores", "2", "--rerun-incomplete"]
    log = (folder / "screen.txt").open("a")
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def screen(folder: Path) -> str:
    return (folder / "screen.txt").read_text()


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Until a file of this pattern exists."""
    for _ in range(1200):
        if any(folder.glob(pattern)):
            return
        assert process.poll() is None, screen(folder)
        time.sleep(0.1)
    raise AssertionError(f"{pattern} never appeared:\n{screen(folder)}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, experiment: dict[str, object]) -> Path:
    folder = checkout(tmp_path_factory.mktemp("undisturbed"), experiment)
    assert start(folder).wait() == 0, screen(folder)
    return folder


def test_every_stage_leaves_its_results(undisturbed: Path) -> None:
    results = undisturbed / "results/demo"
    tables = {file.name for file in (results / "tables").iterdir()}
    assert {"table1.csv", "table1.tex", "table2.csv", "table_d1.tex", "reproduction.csv"} <= tables
    assert {file.suffix for file in (results / "figures").iterdir()} == {".png", ".pdf"}
    assert "results/demo/tables" in screen(undisturbed), "the last lines say where the results are"
    assert (results / "evaluate/swav-30/e2mc/trial0/voc07/predictions.csv").exists()
    assert not list(results.rglob("*.part")), "no temporary file is left behind"


def test_a_second_start_has_nothing_to_do(undisturbed: Path) -> None:
    assert start(undisturbed).wait() == 0
    assert "Nothing to be done" in screen(undisturbed)


def test_killed_twice_the_tables_are_the_same_bytes(
    undisturbed: Path, tmp_path: Path, experiment: dict[str, object]
) -> None:
    folder = checkout(tmp_path, experiment)
    for moment in ("results/demo/.runs/pretrain/*/*/*", "results/demo/evaluate/*/*/*/linear-1/*"):
        process = start(folder)
        wait_for(folder, moment, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        unlocked = [sys.executable, "-m", "snakemake", "--unlock"]
        subprocess.run(unlocked, cwd=folder, check=True, capture_output=True)
    assert start(folder).wait() == 0, screen(folder)
    assert shown(folder) == shown(undisturbed)
    assert len(shown(folder)) > 8


def test_a_failing_rule_names_its_log_and_keeps_what_is_finished(
    undisturbed: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "checkout", symlinks=True))
    before = shown(folder)
    model = next(folder.glob("results/demo/pretrain/*/e2mc/trial0/model.safetensors"))
    model.write_bytes(model.read_bytes()[:1000])
    (folder / "screen.txt").write_text("")
    assert start(folder).wait() != 0
    failed = re.findall(r"log: (\S+-e2mc-trial0\S*\.log) \(check log", screen(folder))
    assert failed, screen(folder)
    log = (folder / failed[0]).read_text()
    assert "model.safetensors" in log
    assert "Traceback" not in log
    assert shown(folder) == before


def test_a_second_head_is_refused_while_the_first_is_at_work(
    undisturbed: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "checkout", symlinks=True))
    (folder / "results/demo/tables/table1.csv").unlink()
    with (folder / "results/demo/.head.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert start(folder).wait() != 0
    assert "another snakemake" in screen(folder)
    assert not (folder / "results/demo/tables/table1.csv").exists()
