"""The test cluster in the hands of a test: start it, break parts of it, see what it says.

Everything acts on the one cluster of start.sh; a job that a test counts is told from others by the
folder it was submitted from.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil  # type: ignore[import-untyped]

HERE = Path(__file__).parent
STATE = Path(os.environ.get("E2MC_SLURM", "/tmp/e2mc-slurm"))
os.environ["SLURM_CONF"] = str(STATE / "etc/slurm.conf")

Found = TypeVar("Found")


class UnavailableError(Exception):
    """No test cluster on this machine."""


class Job(NamedTuple):
    """A job as squeue shows it."""

    id: str
    name: str
    partition: str
    state: str
    nodes: str
    restarts: int
    folder: Path
    comment: str


def start() -> None:
    """Start whatever is not running: the whole cluster, a killed node, a stopped daemon.

    Raises:
        UnavailableError: this machine cannot have one; why, in one sentence.
    """
    # The daemons that start.sh leaves behind would hold a pipe open.
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run([HERE / "start.sh"], stdout=said, stderr=subprocess.STDOUT)
        said.seek(0)
        text = said.read()
    if done.returncode == 77:
        raise UnavailableError(text.splitlines()[-1])
    assert done.returncode == 0, text


def stop() -> None:
    """End it, unless it was never there."""
    subprocess.run([HERE / "stop.sh"], check=True, stdout=subprocess.DEVNULL)


def is_up() -> bool:
    """Whether somebody has started it already."""
    return _process("slurmctld") is not None


def kill_node(name: str, *, noticed: bool = False) -> None:
    """The node loses its power: nothing on it lives, and nothing tells the controller.

    Args:
        name: of the node.
        noticed: a health check tells the controller at once; it would find out by itself within
            half a minute.
    """
    daemon = _process(f"slurmd-{name}")
    assert daemon is not None, f"slurmd of {name} is not running"
    daemon.kill()
    while doomed := [process for process in psutil.process_iter() if _is_on(process, name)]:
        parents = {process.parent() for process in doomed}
        # A step's slurmstepd would report the death of its processes: it dies before them.
        for parent in parents:
            if parent is not None and parent.name() == "slurmstepd":
                parent.kill()
        for process in doomed:
            process.kill()
        psutil.wait_procs(doomed, timeout=5)
    if noticed:
        run("scontrol", "update", f"nodename={name}", "state=down", "reason=no power")


def revive_node(name: str) -> None:
    start()
    wait_until(lambda: node_state(name) in ("idle", "mix"), 30, f"node {name} is back")


def is_idle() -> bool:
    """Whether all nodes could take jobs; a cluster started again may still end those of before."""
    return set(run("sinfo", "--noheader", "--Node", "--format=%t").split()) == {"idle"}


def node_state(name: str) -> str:
    return run("sinfo", "--noheader", f"--nodes={name}", "--format=%t").split()[0]


def preempt(node: str, seconds: int = 2) -> str:
    """Submit an urgent job that takes all GPUs of the node for so long; returns its id."""
    script = f"sleep {seconds}"
    return run(
        *("sbatch", "--parsable", "--partition=urgent", f"--nodelist={node}", "--gres=gpu:2"),
        *("--output=/dev/null", "--job-name=urgent", f"--wrap={script}"),
    ).strip()


def stop_controller() -> None:
    _end("slurmctld")


def start_controller() -> None:
    start()


def stop_database() -> None:
    """Sacct and sacctmgr find nobody to ask."""
    _end("slurmdbd")


def start_database() -> None:
    start()


def squeue(folder: Path | None = None) -> list[Job]:
    """All jobs of the last minutes, finished ones too; with a folder those submitted from there."""
    columns = "JobID,Partition,State,NodeList,RestartCnt,WorkDir,Comment,Name"
    asked = ",".join(f"{column}:|" for column in columns.split(","))
    jobs = []
    for line in run("squeue", "--noheader", "--states=all", f"--Format={asked}").splitlines():
        row = line.removesuffix("|").split("|", 7)
        id, partition, state, nodes, restarts, where, comment, name = row
        job = Job(id, name, partition, state, nodes, int(restarts), Path(where), comment)
        if folder is None or job.folder == folder.resolve():
            jobs.append(job)
    return sorted(jobs, key=lambda job: int(job.id))


def job(id: str) -> Job:
    return next(job for job in squeue() if job.id == id)


def run(*command: str) -> str:
    """What the command prints; its complaint is the error."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def attempt(*command: str) -> bool:
    """Whether it worked, which it need not: the job may just have ended."""
    return subprocess.run(command, capture_output=True).returncode == 0


def wait_until(predicate: Callable[[], Found], timeout: float, what: str) -> Found:
    """Ask until the answer is true, and return it.

    Raises:
        TimeoutError: it took too long.
    """
    end = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.1)
    return answer


def _process(daemon: str) -> psutil.Process | None:
    try:
        process = psutil.Process(int((STATE / "run" / f"{daemon}.pid").read_text()))
        return process if process.name() == daemon.partition("-")[0] else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


def _end(daemon: str) -> None:
    process = _process(daemon)
    assert process is not None, f"{daemon} is not running"
    process.terminate()
    process.wait(30)


def _is_on(process: psutil.Process, node: str) -> bool:
    """Whether this is a job's process on a node of this cluster; there may be another cluster."""
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    here = ("e2mc", node)
    return (environment.get("SLURM_CLUSTER_NAME"), environment.get("SLURMD_NODENAME")) == here
