"""The test cluster behaves as a cluster does; nothing of this project takes part."""

from pathlib import Path

import pytest

from tests.slurm import cluster

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]

# Notes every start and every USR2, and ends only when it is started a second time.
STUBBORN = """#!/bin/bash
echo "start ${SLURM_RESTART_COUNT:-0}" >> notes
trap 'echo asked >> notes' USR2
while [ -z "$SLURM_RESTART_COUNT" ]; do sleep 0.2; done
"""


def submit(folder: Path, script: str, *options: str) -> str:
    (folder / "job.sh").write_text(script)
    where = (f"--chdir={folder}", f"--output={folder}/output")
    return cluster.run("sbatch", "--parsable", *where, *options, str(folder / "job.sh")).strip()


def runs(job: str) -> str:
    """Waits for the job to run; returns its node."""
    cluster.wait_until(lambda: cluster.job(job).state == "RUNNING", 60, f"job {job} runs")
    return cluster.job(job).nodes


def ends(job: str) -> cluster.Job:
    over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
    cluster.wait_until(lambda: cluster.job(job).state in over, 60, f"job {job} ends")
    return cluster.job(job)


def test_a_job_sees_the_gpus_that_it_asked_for() -> None:
    ask = ("srun", "--partition=gpu", "--nodes=1")
    assert cluster.run(*ask, "--gres=gpu:2", "printenv", "CUDA_VISIBLE_DEVICES").strip() == "0,1"
    with pytest.raises(AssertionError, match="node configuration is not available"):
        cluster.run(*ask, "--gres=gpu:3", "true")


def test_two_nodes_have_two_names() -> None:
    names = cluster.run("srun", "--nodes=2", "printenv", "SLURMD_NODENAME")
    assert sorted(names.split()) == ["c1", "c2"]


def test_accounting_knows_a_finished_job(tmp_path: Path) -> None:
    job = submit(tmp_path, "#!/bin/bash\nexit 3\n")
    assert ends(job).state == "FAILED"
    asked = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}")
    row = ["FAILED|3:0"]
    cluster.wait_until(
        lambda: cluster.run(*asked, "--format=State,ExitCode").split() == row, 20, "sacct knows"
    )


def test_an_urgent_job_preempts_and_the_other_is_requeued(tmp_path: Path) -> None:
    job = submit(tmp_path, STUBBORN, "--partition=gpu", "--gres=gpu:1", "--signal=B:USR2@60")
    cluster.preempt(runs(job))
    assert ends(job).state == "COMPLETED"
    assert (tmp_path / "notes").read_text().splitlines() == ["start 0", "asked", "start 1"]


def test_the_job_of_a_killed_node_is_requeued(tmp_path: Path) -> None:
    job = submit(tmp_path, STUBBORN, "--partition=cpu")
    node = runs(job)
    cluster.kill_node(node, noticed=True)
    assert ends(job).state == "COMPLETED"
    assert cluster.job(job).restarts == 1
    assert (tmp_path / "notes").read_text().splitlines() == ["start 0", "start 1"]
    cluster.revive_node(node)


def test_the_controller_and_the_database_come_back() -> None:
    cluster.stop_database()
    with pytest.raises(AssertionError, match="sacct"):
        cluster.run("sacct")
    cluster.start_database()
    cluster.run("sacct")
    cluster.stop_controller()
    with pytest.raises(AssertionError, match="scontrol ping"):
        cluster.run("scontrol", "ping")
    cluster.start_controller()
    cluster.squeue()
