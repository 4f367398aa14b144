"""What sbatch is told for a site, and what is made of its complaints."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2mc.cluster.sbatch import complaint, executor, is_busy, options
from e2mc.cluster.settings import Cluster, Stage
from e2mc.errors import E2MCError

STAGE = {"partition": "gpu", "gpus": 2, "memory_gb": 4, "hours": 1}


def site(stage: dict[str, Any] | None = None, **place: Any) -> tuple[Cluster, Stage]:
    stages = {"pretrain": {**STAGE, **(stage or {})}}
    cluster = Cluster.model_validate({"partitions": {"gpu": place}, "stages": stages})
    return cluster, cluster.stages["pretrain"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({}, {"gpus-per-node": "2", "mem": "4096M", "requeue": True}),
        ({"gpu_type": "a100"}, {"gpus-per-node": "a100:2", "mem": "4096M", "requeue": True}),
        ({"gpu_option": "gres"}, {"gres": "gpu:2", "mem": "4096M", "requeue": True}),
        (
            {"gpu_option": "gres", "gpu_type": "a100", "options": {"gres": "scratch:1"}},
            {"gres": "gpu:a100:2,scratch:1", "mem": "4096M", "requeue": True},
        ),
        (
            {"options": {"gres": "gpu:fake:2"}},
            {"gres": "gpu:fake:2", "mem": "4096M", "requeue": True},
        ),
        (
            {"options": {"gres": "scratch:1"}},
            {"gres": "scratch:1", "gpus-per-node": "2", "mem": "4096M", "requeue": True},
        ),
        (
            {"options": {"gpus_per_node": "fake:2", "nice": 5}},
            {"gpus-per-node": "fake:2", "nice": 5, "mem": "4096M", "requeue": True},
        ),
        (
            {"options": {"mem-per-cpu": "2G"}},
            {"gpus-per-node": "2", "mem-per-cpu": "2G", "requeue": True},
        ),
        (
            {"options": {"requeue": False, "mem": False, "exclusive": False}},
            {"gpus-per-node": "2"},
        ),
        (
            {"options": {"no_requeue": True}, "qos": "high"},
            {"gpus-per-node": "2", "mem": "4096M", "no-requeue": True, "qos": "high"},
        ),
    ],
)
def test_a_sites_words_go_before_ours(place: dict[str, Any], expected: dict[str, Any]) -> None:
    assert options(*site(**place)) == expected


def test_memory_may_be_left_to_slurm() -> None:
    assert "mem" not in options(*site({"memory_gb": None}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"clusters": "lab2"}, "say `cluster` at the top of the file"),
        ({"job_name": "x"}, "jobs are found again by it"),
        ({"chdir": "/x"}, "jobs are found again by it"),
        ({"cpus-per-task": 3}, "say `cpus` of the stages"),
        ({"p": "gpu"}, "write the long name"),
        ({"mem-per-cpu": 1, "mem_per_cpu": 2}, "is there twice"),
    ],
)
def test_options_that_would_break_something_are_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, E2MCError), match=message):
        site(options=given)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "srun").write_text("")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return str(executor(*site(), tmp_path)._make_submission_file_text("the-job", "test"))


def test_the_script_is_for_any_site(script: str) -> None:
    assert "wckey" not in script
    assert "#SBATCH --gpus-per-node=2" in script
    assert script.index("export SLURM_EXPORT_ENV=ALL") < script.index("srun ")
    assert script.index("unset SLURM_CLUSTERS") < script.index("srun ")


def test_a_job_is_deaf_to_the_warning_until_it_listens(tmp_path: Path, script: str) -> None:
    python = executor(*site(), tmp_path).python
    asks = "import signal; print(signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN)"
    done = subprocess.run(f"{python} -c '{asks}'", shell=True, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
    plain = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True)
    assert plain.stdout == "False\n"
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("said", "busy"),
    [
        ("Batch job submission failed: Unable to contact slurm controller", True),
        ("Batch job submission failed: Socket timed out on send/recv operation", True),
        ("Batch job submission failed: Slurm backup controller in standby mode", True),
        ("Batch job submission failed: Transport endpoint is not connected", True),
        ("Batch job submission failed: Unexpected message received", True),
        ("QOSMaxSubmitJobPerUserLimit", True),
        ("QOSGrpSubmitJobsLimit; Batch job submission failed: Job violates accounting", True),
        ("AssocGrpSubmitJobsLimit", True),
        ("AssocMaxSubmitJobLimit", True),
        ("Batch job submission failed: Required partition not available (inactive or drain)", True),
        ("Batch job submission failed: Invalid account or account/partition combination", False),
        ("invalid partition specified: gpuu", False),
        ("QOSMaxCpuPerJobLimit; Batch job submission failed: Job violates accounting", False),
        ("Batch job submission failed: Requested node configuration is not available", False),
    ],
)
def test_what_sbatch_may_take_later(said: str, busy: bool) -> None:
    assert is_busy(said) is busy


def test_all_that_sbatch_said_is_kept() -> None:
    said = (
        "sbatch: error: QOSGrpSubmitJobsLimit\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy\n"
    )
    assert complaint(said) == (
        "QOSGrpSubmitJobsLimit; Batch job submission failed: Job violates accounting/QOS policy"
    )
    assert complaint("allocation failure: Invalid account\n") == "Invalid account"
    assert complaint("") == ""
