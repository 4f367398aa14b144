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
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.small_experiment import checkout, differences, shown, small_experiment

FOLLOWS = "what is printed follows from what lies there"


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
    assert {file.suffix for file in (results / "figures").iterdir()} == {".png", ".pdf", ".json"}
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
    assert not differences(shown(folder), shown(undisturbed))
    assert len(shown(folder)) > 8
    assert not list(folder.rglob("*.part")), "what killed writers left is gone"


def test_a_failing_rule_names_its_log_and_keeps_what_is_finished(
    undisturbed: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "checkout", symlinks=True))
    before = shown(folder)
    (folder / "results/demo/data/imagenet/1percent.txt").write_text("no such image.png\n")
    next(folder.glob("results/demo/evaluate/*/e2mc/trial0/linear-1/metrics.json")).unlink()
    (folder / "screen.txt").write_text("")
    assert start(folder).wait() != 0
    failed = re.findall(r"log: (\S+-e2mc-trial0\S*\.log) \(check log", screen(folder))
    assert failed, screen(folder)
    log = (folder / failed[0]).read_text()
    assert "1percent.txt" in log
    assert "Traceback" not in log
    assert not differences(shown(folder), before)


def test_what_was_damaged_is_made_again_with_all_that_depends_on_it(
    undisturbed: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "checkout", symlinks=True))
    before = shown(folder)
    run = folder / "results/demo/evaluate/swav-30/e2mc/trial0"
    for file in (
        folder / "results/demo/tables/table1.csv",
        folder / "results/demo/figures/figure2.pdf",
        run / "voc07/predictions.csv",
        run / "linear-10/metrics.json",
        run / "knn/distances.npy",
    ):
        times, content = file.stat(), bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        os.utime(file, (times.st_atime, times.st_mtime))
    assert "does NOT follow" in verdict(folder)
    assert start(folder).wait() == 0, screen(folder)
    assert not differences(shown(folder), before)
    assert FOLLOWS in verdict(folder)


def test_a_changed_configuration_is_seen_without_snakemakes_memory(
    undisturbed: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(undisturbed, tmp_path / "checkout", symlinks=True))
    shutil.rmtree(folder / ".snakemake")
    file = folder / "config/demo.yaml"
    changed = yaml.safe_load(file.read_text())
    changed["evaluation"]["voc07"]["costs"] = [0.1, 1.0, 2.0]
    file.write_text(yaml.safe_dump(changed, sort_keys=False))
    table = ("table", "table2", "--csv", "table2.csv", "--tex", "table2.tex")
    refused = subprocess.run(
        [sys.executable, "-m", "e2mc", *table], cwd=folder, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "voc07/metrics.json was made with protocol.costs [0.1, 1.0], now" in refused.stderr
    assert start(folder).wait() == 0, screen(folder)
    assert screen(folder).count("voc07/metrics.json was made with") == 2
    assert FOLLOWS in verdict(folder)


def verdict(folder: Path) -> str:
    """The last line of `e2mc verify`; with all others where that finds something."""
    command = [sys.executable, "-m", "e2mc", "verify", "results/demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.stdout if done.returncode else done.stdout.splitlines()[-1]


KILLS = 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_the_results_are_the_same_bytes(
    undisturbed: Path, tmp_path: Path, experiment: dict[str, object], seed: int
) -> None:
    """Each start is killed after a random number of seconds, if it lasts so long."""
    moments = np.random.default_rng(seed).uniform(2, 40, KILLS)
    folder = checkout(tmp_path, experiment)
    for moment in moments:
        process = start(folder)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        unlocked = [sys.executable, "-m", "snakemake", "--unlock"]
        subprocess.run(unlocked, cwd=folder, check=True, capture_output=True)
    assert start(folder).wait() == 0, screen(folder)
    assert not differences(shown(folder), shown(undisturbed))
    assert FOLLOWS in verdict(folder)


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
