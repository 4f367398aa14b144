"""A workflow of small trainings that know interruption as the real ones do, without torch."""

import hashlib
import shutil
from pathlib import Path

import yaml

from tests.slurm.head import write_site

ROOT = Path(__file__).parents[2]

SNAKEFILE = """
rule all:
    input: expand("results/toy/evaluate/{name}.txt", name=config["trainings"])
    localrule: True

rule train:
    output: "results/toy/train/{name}.txt"
    log: "results/toy/logs/train/{name}.log"
    params: steps=lambda wildcards: config["trainings"][wildcards.name]
    shell: "python train.py {wildcards.name} {params.steps} {output} > {log} 2>&1"

rule evaluate:
    input: "results/toy/train/{name}.txt"
    output: "results/toy/evaluate/{name}.txt"
    log: "results/toy/logs/evaluate/{name}.log"
    shell: "cp {input} {output} > {log} 2>&1"
"""

# Saves its state when told to stop, and now and then; every state depends on all steps before it.
TRAINING = """
import hashlib, json, os, pathlib, signal, sys, time

name, steps, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
asked = []
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda *_: asked.append(1))
file = pathlib.Path("results/toy/.runs", name + ".json")
step, weights = json.loads(file.read_text()) if file.exists() else (0, "")
print("from step", step, flush=True)
journal = open(f"results/toy/.runs/{name}.journal", "a")
print(time.time(), os.getpid(), step, file=journal, flush=True)
mended = os.path.exists("mended")
if name == "raises" and not mended:
    raise ValueError("the loss is not finite")
ballast = b"x" * 1_000_000_000 if name == "hungry" and not mended else None
rank = int(os.environ["SLURM_PROCID"])
while step < steps:
    time.sleep(0.1)
    step += 1
    if name == "killed" and not mended:
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "loses_a_rank" and rank == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "loses_a_rank" and step == 20:
        raise ConnectionError("Connection reset by peer")
    weights = hashlib.sha256(f"{weights}{step}".encode()).hexdigest()
    print(time.time(), os.getpid(), step, file=journal, flush=True)
    if asked or step % 50 == 0:
        file.with_suffix(".part").write_text(json.dumps([step, weights]))
        file.with_suffix(".part").replace(file)
    if asked:
        print("stopped at step", step, flush=True)
        sys.exit(75)
pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
pathlib.Path(output).write_text(weights)
"""


def toy(
    folder: Path, trainings: dict[str, int], *, hours: float = 0.5, gpus: int = 1, **site: object
) -> Path:
    """Write the workflow, with the repository's own profile, into a new folder.

    Args:
        folder: to be made.
        trainings: name -> steps of a tenth of a second; `raises`, `hungry` and `killed` do what
            they are called until a file `mended` is there, `loses_a_rank` does it always.
        hours: time limit of every job; Slurm counts in minutes.
        gpus: processes of a training.
        site: further keys of the site's file.
    """
    (folder / "config").mkdir(parents=True)
    (folder / "config/paper.yaml").write_text(yaml.safe_dump({"trainings": trainings}))
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "train.py").write_text(TRAINING)
    (folder / "slurm").mkdir()
    shutil.copy(ROOT / "slurm/config.yaml", folder / "slurm")
    (folder / "slurm/cluster.yaml").write_text("{}")
    one = {"cpus": 1, "memory_gb": 0.5, "hours": hours, "timeouts": 99}
    stages = {
        "train": {**one, "partition": "gpu", "gpus": gpus},
        "evaluate": {**one, "partition": "cpu"},
    }
    write_site(folder, stages, **site)
    return folder


def begun(folder: Path, *names: str) -> bool:
    """Whether these trainings are at work, which is later than Slurm calls them running."""
    journals = [folder / f"results/toy/.runs/{name}.journal" for name in names]
    return all(file.exists() and len(file.read_text().split()) > 9 for file in journals)


def weights(steps: int) -> str:
    """What an undisturbed training ends with."""
    state = ""
    for step in range(1, steps + 1):
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
    return state


def finished(folder: Path) -> dict[str, str]:
    """Name -> final weights, of what went all the way."""
    return {file.stem: file.read_text() for file in folder.glob("results/toy/evaluate/*.txt")}
