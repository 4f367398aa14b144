"""The demo with a single base, few epochs and one trial, in a folder of its own."""

import shutil
import signal
from itertools import zip_longest
from pathlib import Path

import yaml

from e2mc.plan.recorded import ASIDE

ROOT = Path(__file__).parents[1]


def hear_ctrl_c() -> None:
    """For a process about to be started: a shell's background jobs inherit a deaf ear to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def small_experiment() -> dict[str, object]:
    """Every stage of the demo, as short as it can be."""
    content = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    content["trials"] = 1
    base = content["bases"]["swav-30"]
    content["bases"] = {"swav-30": {**base, "criteria": ["continued", "e2mc"]}}
    content["tables"] = {"table3": "swav-30", "table_d1": "swav-30"}
    content["figures"] = {"figure4": {"bases": ["swav-30"], "epochs": 3, "every": 3}}
    swav = content["methods"]["swav"]
    swav["scratch"]["epochs"] = 2
    swav["continued"]["epochs"] = 2
    evaluation = content["evaluation"]
    evaluation["keep_features"] = False
    evaluation["linear"] = {
        "views": {1: 4, 10: 4, 100: 2},
        "swav": {share: {"epochs": 4} for share in (1, 10, 100)},
    }
    evaluation["inat18"] = {"fit": {"epochs": 3, "milestones": [2]}, "views": 2}
    evaluation["voc07"] = {"costs": [0.1, 1.0]}
    evaluation["semisup"]["swav"] = {share: {"epochs": 2, "batch_size": 64} for share in (1, 10)}
    assert isinstance(content, dict)
    return content


def checkout(folder: Path, experiment: dict[str, object] | None = None) -> Path:
    """A copy of the workflow that `snakemake all` runs this experiment in; None: the demo."""
    for name in ("workflow", "config", "envs", "slurm"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    if experiment is not None:
        (folder / "config/demo.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
    return folder


def shown(folder: Path) -> dict[str, bytes]:
    """All that a reader of the results looks at; what was set aside is none of it."""
    results = folder / "results/demo"
    parts = ("tables", "statistics", "figures")
    files = sorted(file for part in parts for file in results.glob(f"{part}/*"))
    there = [file for file in files if file.suffix != ASIDE]
    return {str(file.relative_to(folder)): file.read_bytes() for file in there}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> dict[str, tuple[bytes, bytes]]:
    """By file that is not the same in both: the first lines that differ."""
    absent = b"(no such file)"
    pairs = {name: (one.get(name, absent), other.get(name, absent)) for name in {*one, *other}}
    return {name: _first(*pair) for name, pair in sorted(pairs.items()) if pair[0] != pair[1]}


def _first(left: bytes, right: bytes) -> tuple[bytes, bytes]:
    lines = zip_longest(left.split(b"\n"), right.split(b"\n"), fillvalue=b"")
    return next((one, other) for one, other in lines if one != other)
