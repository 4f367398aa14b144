#!/usr/bin/env python3
"""Slurm's commands for tests without a Slurm: jobs are processes of this machine.

A link to this file under the name of each command, in the folder that PRETENDED_SLURM names, does
what that command would do. What a test wants it to say instead lies there in `<command>.says` (to
be printed) and `<command>.refuses` (to be complained about).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(os.environ.get("PRETENDED_SLURM", ""))


def install(folder: Path) -> dict[str, str]:
    """The commands, and the environment in which they are found."""
    folder.mkdir()
    for command in ("sbatch", "squeue", "sacct", "scancel", "srun", "scontrol"):
        (folder / command).symlink_to(Path(__file__).resolve())
    return {"PRETENDED_SLURM": str(folder), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def sbatch(arguments: list[str]) -> None:
    """Start the script, as a job."""
    script = Path(arguments[-1]).read_text()
    job_id = str(len(list(HERE.glob("*.job"))) + 1)
    name = next(line for line in script.splitlines() if "--job-name=" in line).split("=", 1)[1]
    job = {"id": job_id, "name": name, "workdir": str(Path.cwd()), "state": "RUNNING"}
    (HERE / f"{job_id}.sh").write_text(script)
    note(job)
    watch = [sys.executable, Path(__file__).resolve(), "watch", job_id]
    nothing = subprocess.DEVNULL
    subprocess.Popen(watch, stdout=nothing, stderr=nothing, start_new_session=True)
    print(f"Submitted batch job {job_id}")


def watch(arguments: list[str]) -> None:
    """What runs a job, and knows how it ended."""
    (job_id,) = arguments
    environment = {**os.environ, "SLURM_JOB_ID": job_id, "SLURM_JOB_NODELIST": "n1"}
    status = subprocess.run(["bash", HERE / f"{job_id}.sh"], env=environment).returncode
    note({**job(job_id), "state": "FAILED" if status else "COMPLETED"})


def srun(arguments: list[str]) -> None:
    """One process."""
    environment = {**os.environ, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    where = {}
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            file = arguments.pop(0).replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
            where[option] = Path(file).open("a")  # noqa: SIM115
    out, error = where["--output"], where["--error"]
    sys.exit(subprocess.run(arguments, env=environment, stdout=out, stderr=error).returncode)


def squeue(_: list[str]) -> None:
    """All jobs."""
    for it in jobs():
        print(f"{it['id']}|{it['state']}|0|n1|None|{it['workdir']}|{it['name']}|")


def sacct(_: list[str]) -> None:
    """All jobs."""
    for it in jobs():
        print(f"{it['id']}|{it['state']}|{it['workdir']}|{it['name']}")


def scancel(arguments: list[str]) -> None:
    """They are over; their processes may live on."""
    for it in jobs():
        if it["id"] in arguments and it["state"] == "RUNNING":
            note({**it, "state": "CANCELLED"})


def scontrol(_: list[str]) -> None:
    """It is there."""


def jobs() -> list[dict[str, str]]:
    return [job(file.stem) for file in HERE.glob("*.job")]


def job(job_id: str) -> dict[str, str]:
    content = json.loads((HERE / f"{job_id}.job").read_text())
    assert isinstance(content, dict)
    return content


def note(content: dict[str, str]) -> None:
    part = HERE / f"{content['id']}.part"
    part.write_text(json.dumps(content))
    part.rename(HERE / f"{content['id']}.job")


if __name__ == "__main__":
    command = Path(sys.argv[0]).name
    arguments = sys.argv[1:]
    if command == "pretended_slurm.py":
        command, arguments = arguments[0], arguments[1:]
    with (HERE / f"{command}.calls").open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    if (HERE / f"{command}.refuses").exists():
        sys.exit((HERE / f"{command}.refuses").read_text())
    if (HERE / f"{command}.says").exists():
        print((HERE / f"{command}.says").read_text(), end="")
    else:
        globals()[command](arguments)
