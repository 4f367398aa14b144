"""What Snakemake and Slurm add to many small jobs: seconds per job, the head's memory and CPU.

    python benchmarks/cluster.py --jobs 500          on the Slurm cluster of this shell
    python benchmarks/cluster.py --jobs 50 --local   processes of this machine instead

Every job writes one word. The same jobs without a cluster (Snakemake's own executor) give the
ratio. Calls of Slurm's commands are counted by stand-ins that call the real ones.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

SNAKEFILE = """
rule all:
    input: expand("results/many/out/{number}.txt", number=range(config["jobs"]))
    localrule: True
rule small:
    output: "results/many/out/{number}.txt"
    log: "results/many/logs/small/{number}.log"
    shell: "tee {output} <<< done > {log} 2>&1"
"""

COMMANDS = ("sbatch", "squeue", "sacct")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--local", action="store_true", help="submitit's local executor")
    parser.add_argument("--partition", help="Slurm partition")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        write_settings(folder, arguments)
        plain = measure(folder, arguments.jobs, ["--cores", "2"])
        shutil.rmtree(folder / "results")
        options = ["--executor", "submitit", "--submitit-settings", "cluster.yaml"]
        options += ["--jobs", str(2 if arguments.local else arguments.jobs)]
        options += ["--seconds-between-status-checks", "1", "--latency-wait", "60"]
        cluster = measure(folder, arguments.jobs, options)
    show("Snakemake alone, 2 at a time", plain, arguments.jobs)
    show("submitit's local executor" if arguments.local else "Slurm", cluster, arguments.jobs)
    print(f"wall-clock ratio {cluster['wall'] / plain['wall']:.1f}")
    calls = ", ".join(f"{cluster[command]:.0f} {command}" for command in COMMANDS)
    print(f"calls in {cluster['wall']:.0f} s: {calls}")


def write_settings(folder: Path, arguments: argparse.Namespace) -> None:
    stage = {"partition": "any", "memory_gb": 0.2, "hours": 0.1}
    settings = {
        "backend": "local" if arguments.local else "slurm",
        "partitions": {"any": {"partition": arguments.partition}},
        "stages": {"small": stage},
    }
    (folder / "cluster.yaml").write_text(yaml.safe_dump(settings))
    shims = folder / "shims"
    shims.mkdir()
    for command in COMMANDS:
        real = shutil.which(command)
        if real is not None:
            shim = shims / command
            shim.write_text(f'#!/bin/sh\necho >> {shim}.calls\nexec {real} "$@"\n')
            shim.chmod(0o755)


def measure(folder: Path, jobs: int, options: list[str]) -> dict[str, float]:
    """Wall-clock and CPU seconds, and the largest memory of the head process alone."""
    command = [sys.executable, "-m", "snakemake", "all", "--config", f"jobs={jobs}", *options]
    environment = {**os.environ, "PATH": f"{folder}/shims:{os.environ['PATH']}"}
    start = time.monotonic()
    with (folder / "screen.txt").open("w") as screen:
        head = psutil.Popen(command, cwd=folder, stdout=screen, stderr=screen, env=environment)
        memory, cpu = 0, 0.0
        while head.poll() is None:
            try:
                memory = max(memory, head.memory_info().rss)
                times = head.cpu_times()
                cpu = times.user + times.system
            except psutil.Error:
                break
            time.sleep(0.2)
    if head.wait() != 0:
        raise subprocess.SubprocessError((folder / "screen.txt").read_text()[-2000:])
    calls = dict.fromkeys(COMMANDS, 0.0)
    for command in COMMANDS:
        file = folder / "shims" / f"{command}.calls"
        calls[command] = float(len(file.read_text().splitlines())) if file.exists() else 0.0
    return {"wall": time.monotonic() - start, "cpu": cpu, "memory": memory / 1e6, **calls}


def show(what: str, measured: dict[str, float], jobs: int) -> None:
    print(
        f"{what}: {measured['wall']:.0f} s for {jobs} jobs, {measured['wall'] / jobs:.2f} s each; "
        f"head: {measured['cpu']:.0f} s CPU, {measured['memory']:.0f} MB"
    )


if __name__ == "__main__":
    main()
