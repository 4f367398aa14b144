"""A head and a Slurm that misleads it: nothing runs twice, nothing waits in silence."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import pretended_slurm
from tests.cluster.toy import STAGE, Toy, kill_head


class Site(Toy):
    """The workflow, and a pretended Slurm for it."""

    def __init__(self, folder: Path, **cluster: object) -> None:
        folder.mkdir()
        self.slurm = folder.parent / "slurm"
        settings = {"backend": "slurm", "warning_seconds": 1, **cluster}
        super().__init__(folder, pretended_slurm.install(self.slurm), **settings)

    def say(self, command: str, text: str) -> None:
        """What this command prints from now on."""
        (self.slurm / f"{command}.says").write_text(text)

    def refuse(self, command: str, text: str) -> None:
        """What this command complains about from now on."""
        (self.slurm / f"{command}.refuses").write_text(text)

    def mend(self) -> None:
        """All commands do what they should again."""
        for file in (*self.slurm.glob("*.says"), *self.slurm.glob("*.refuses")):
            file.unlink()

    def calls(self, command: str) -> list[str]:
        """Arguments of all calls so far."""
        file = self.slurm / f"{command}.calls"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, predicate: Callable[[], object], what: str) -> None:
        """Until it is true."""
        for _ in range(1200):
            if predicate():
                return
            time.sleep(0.1)
        raise AssertionError(f"not within two minutes: {what}")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a site; whatever is left of it in the end is stopped."""
    made = []

    def make(**cluster: object) -> Site:
        made.append(Site(tmp_path / "work", **cluster))
        return made[-1]

    yield make
    for site in made:
        (site.folder / "held").unlink(missing_ok=True)
        site.end()


@pytest.fixture
def site(make: Callable[..., Site]) -> Site:
    """A site like any other."""
    return make()


def test_an_empty_squeue_is_no_end_of_what_accounting_calls_alive(site: Site) -> None:
    site.say("squeue", "")
    (site.folder / "held").touch()
    head = site.start([1], seconds=0)
    site.wait_for_begun(1)
    asked = len(site.calls("sacct"))
    site.wait_for(lambda: len(site.calls("sacct")) > asked + 5, "patience is over several times")
    (site.folder / "held").unlink()
    screen, _ = head.communicate(timeout=120)
    assert head.returncode == 0, screen
    assert screen.count("squeue does not list it, sacct calls it RUNNING") == 1
    assert (site.begun(), len(site.calls("sbatch"))) == (["1"], 1)
    assert site.calls("scancel") == []


def test_without_a_witness_it_waits_longer_and_says_so(make: Callable[..., Site]) -> None:
    site = make(patience_seconds=6)
    site.say("squeue", "")
    site.refuse("sacct", "Slurm accounting storage is disabled")
    (site.folder / "held").touch()
    head = site.start([1], seconds=0)
    site.wait_for_begun(1)
    site.wait_for(lambda: "neither" in str(site.record(1)["reason"]), "patience is over")
    (site.folder / "held").unlink()
    screen, _ = head.communicate(timeout=120)
    assert head.returncode == 0, screen
    assert "neither squeue nor sacct knows it; it counts as lost after 1 min" in screen
    assert (site.begun(), len(site.calls("sbatch"))) == (["1"], 1)


def test_a_second_head_does_not_submit_what_only_accounting_knows(site: Site) -> None:
    (site.folder / "held").touch()
    head = site.start([1], seconds=0)
    site.wait_for_begun(1)
    kill_head(head)
    site.say("squeue", "")
    # as if the first head had died before it could write down the number
    (site.folder / "results/toy/.runs/jobs/work/1/job.json").write_text("{")
    second = site.start([1], seconds=0)
    site.wait_for(lambda: site.calls("scancel"), "the first job is cancelled")
    assert site.calls("scancel")[0].split()[-1] == "1"
    assert any("--name=toy/work/1" in call for call in site.calls("sacct"))
    (site.folder / "held").unlink()
    screen, _ = second.communicate(timeout=120)
    assert second.returncode == 0, screen
    assert len(site.calls("sbatch")) == 2


def test_a_number_that_belongs_to_another_job_now(site: Site) -> None:
    (site.folder / "held").touch()
    head = site.start([1], seconds=0)
    site.wait_for_begun(1)
    kill_head(head)
    site.say("squeue", "1|RUNNING|0|n1|None|/elsewhere|toy/work/1|\n")
    site.say("sacct", "1|RUNNING|/elsewhere|toy/work/1\n")
    head = site.start([1], seconds=0)
    site.wait_for_begun(2)
    (site.folder / "held").unlink()
    screen, _ = head.communicate(timeout=120)
    assert head.returncode == 0, screen
    assert site.calls("scancel") == [], "it is somebody else's"


def test_one_refusal_ends_the_submissions_of_a_look(make: Callable[..., Site]) -> None:
    site = make(poll_seconds=2)
    limit = "sbatch: error: QOSGrpSubmitJobsLimit\nsbatch: error: Batch job submission failed: Job"
    site.refuse("sbatch", limit)
    head = site.start(list(range(1, 9)), seconds=0)
    site.wait_for(lambda: len(site.calls("squeue")) >= 4, "some looks")
    assert 1 <= len(site.calls("sbatch")) <= len(site.calls("squeue"))
    site.mend()
    screen, _ = head.communicate(timeout=240)
    assert head.returncode == 0, screen
    assert screen.count("wait to be submitted: QOSGrpSubmitJobsLimit; Batch job submission") == 1
    assert sorted(site.begun()) == [str(number) for number in range(1, 9)]


def test_why_slurm_lets_jobs_wait_is_told_once_for_all(site: Site) -> None:
    (site.folder / "held").touch()
    head = site.start([1, 2, 3], seconds=0)
    site.wait_for_begun(3)

    def waiting(reason: str) -> str:
        rows = (f"{n}|PENDING|0||{reason}|{site.folder}|toy/work/{m}|\n" for n, m in names.items())
        return "".join(rows)

    names = {site.record(number)["job_id"]: number for number in (1, 2, 3)}
    for reason in ("Priority", "JobHeldAdmin", "PartitionDown"):
        site.say("squeue", waiting(reason))
        site.wait_for(
            lambda reason=reason: all(
                reason in str(site.record(number)["reason"]) for number in (1, 2, 3)
            ),
            "every record says why",
        )
    (site.folder / "held").unlink()
    screen, _ = head.communicate(timeout=120)
    assert head.returncode == 0, screen
    assert screen.count("and 2 more waits: JobHeldAdmin (to let it go: scontrol release JOB)") == 1
    assert screen.count("and 2 more waits: PartitionDown") == 1
    assert "Priority" not in screen


def test_killed_for_want_of_memory_in_slurms_words(site: Site) -> None:
    (site.folder / "killed-1").touch()
    site.say("sacct", f"1|FAILED|{site.folder}|toy/work/1\n1.0|OUT_OF_MEMORY||python\n")
    status, screen = site.run([1])
    assert status == 1
    (line,) = [line for line in screen.splitlines() if "failed: " in line]
    assert "work/1 failed: Slurm: OUT_OF_MEMORY" in line
    assert "raise memory_gb of stages.work (now 1)" in line


def test_an_end_without_the_output_is_a_failure_that_others_do_not_wait_for(site: Site) -> None:
    (site.folder / "silent-1").touch()
    status, screen = site.run([1, 2], 0, "--latency-wait", "4")
    assert status == 1
    assert "work/1 failed: it ended without an error, but results/toy/out/1.txt" in screen
    assert screen.index("work/2: job") < screen.index("work/1 failed")
    record = site.record(1)
    assert record["state"] == "FAILED"
    assert site.outputs() == ["2"]


def test_what_died_before_the_stage_wrote_anything_is_in_submitits_file(
    make: Callable[..., Site],
) -> None:
    site = make(python="bash -c 'echo no such module >&2; exit 3'")
    status, screen = site.run([1])
    assert status == 1
    (line,) = [line for line in screen.splitlines() if "failed: " in line]
    assert "work/1 failed: Slurm: FAILED: no such module" in line
    assert "log: results/toy/.runs/jobs/work/1/submitit/1_0_log.err" in line


def test_submitits_files_of_a_finished_job_are_removed(site: Site) -> None:
    status, screen = site.run([1])
    assert status == 0, screen
    assert [file.name for file in site.folder.glob("results/toy/.runs/jobs/work/1/*")] == [
        "job.json"
    ]


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_dry_run_reads_the_sites_file_too(
    make: Callable[..., Site], arguments: tuple[str, ...]
) -> None:
    site = make(stages={"work": {**STAGE, "memory": 3}})
    status, screen = site.run([1], 0, *arguments)
    assert status == 1
    assert "did you mean 'memory_gb'?" in screen
    assert "Traceback" not in screen
    assert ".py" not in screen, "nor where in our code it was noticed"
