"""The graph plans what is needed and nothing else.

A stand-in for the command ``e2mc`` makes every output as an empty file: what is under test is
which jobs Snakemake plans, not what they compute.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from e2mc.config import load_experiment
from e2mc.plan.estimate import estimate
from e2mc.plan.jobs import STAGES
from e2mc.plan.jobs import jobs as jobs_of
from tests.small_experiment import checkout

ROOT = Path(__file__).parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        [*SNAKEMAKE, "--cores", "4", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def planned(folder: Path, *arguments: str) -> Counter[str]:
    """Rule -> number of jobs of a dry run."""
    done = snakemake(folder, "-n", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout + done.stderr
    if "Nothing to be done" in output:
        return Counter()
    table = output.split("Job stats:")[1].split("total")[0]
    return Counter(
        {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    )


def edit(folder: Path, *keys: str, value: object) -> None:
    """Change one key of the demo's configuration."""
    file = folder / "config/demo.yaml"
    content = yaml.safe_load(file.read_text())
    section = content
    for key in keys[:-1]:
        section = section.setdefault(key, {})
    section[keys[-1]] = value
    file.write_text(yaml.safe_dump(content, sort_keys=False))


STAND_IN = """#!/bin/sh
while read -r file; do
    [ -e "$file" ] && continue
    folder=${file%/*} name=${file##*/}
    case "$file" in
        *features/*-train | *features/*-test)
            case "$* " in
                "extract "*" ${name%-*} "*"--output $folder "*) mkdir -p "$file" ;;
            esac ;;
        *) mkdir -p "$folder" && echo "{}" > "$file" ;;
    esac
done < outputs.txt
"""
"""Makes whatever is missing of all jobs' outputs, but cached features, which are folders, only
when it is asked for them."""


def run_with_stand_in(folder: Path) -> Path:
    """Run the whole experiment of a checkout with the stand-in."""
    summary = snakemake(folder, "--summary", "all").stdout
    outputs = [line.split("\t")[0] for line in summary.splitlines()[1:]]
    (folder / "outputs.txt").write_text("".join(f"{output}\n" for output in outputs))
    (folder / "e2mc").write_text(STAND_IN)
    (folder / "e2mc").chmod(0o755)
    run = snakemake(folder, "all")
    assert run.returncode == 0, run.stdout + run.stderr
    (folder / "screen.txt").write_text(run.stdout + run.stderr)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the whole demo was run, which keeps its features."""
    return run_with_stand_in(checkout(tmp_path_factory.mktemp("finished")))


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """A private copy of the finished checkout (times kept: they are a rerun trigger)."""
    return Path(shutil.copytree(finished, tmp_path / "checkout", symlinks=True))


def test_the_root_snakefile_plans_the_whole_paper() -> None:
    jobs = planned(ROOT, "--forceall", "all")
    assert jobs["scratch"] == jobs["import_checkpoint"] == 3
    assert jobs["table"] == 7
    assert jobs["figure"] == 5
    assert jobs["index"] == 1
    # two bases, continued and e2mc
    assert jobs["trajectory"] == 2 * 2
    assert jobs["snapshots"] == 2 * 2
    # 3 bases x (continued, e2mc), 3 rivals on SwAV, 3 trials each; 10 further cells of Table D.2.
    assert jobs["pretrain"] + jobs["trajectory"] >= 3 * (3 * 2 + 3) + 10
    assert jobs["semisup"] == 2 * 2 * 3


def test_every_table_and_the_figures_are_targets_of_their_own() -> None:
    listed = snakemake(ROOT, "--list-target-rules").stdout.split()
    tables = {
        "table1",
        "table2",
        "table3",
        "table_d1",
        "table_d2",
        "table_transfer",
        "reproduction",
    }
    assert {"all", "figures", *tables} <= set(listed)
    assert planned(ROOT, "--forceall", "table_d1")["table"] == 1


def test_the_map_is_a_target_with_its_figure() -> None:
    config = ("--configfile", "config/imagenet32_small.yaml")
    jobs = planned(ROOT, "--forceall", "map", *config)
    assert (jobs["table"], jobs["figure"]) == (1, 1)
    # three bases, continued and e2mc, four other weights, six trials
    assert jobs["subsets"] == jobs["pretrain"] == (3 * 2 + 4) * 6
    assert "map" not in snakemake(ROOT, "--list-target-rules").stdout.split()


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("demo", ()),
        ("imagenet32_small", ()),
        ("paper", ()),
        ("paper", ("inat18",)),
        ("paper", ("voc07",)),
    ],
)
def test_the_list_of_jobs_is_the_rules(tmp_path: Path, name: str, absent: tuple[str, ...]) -> None:
    """`e2mc status`, the cost and the estimate go by it."""
    content = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    content["data"].update(dict.fromkeys(absent))
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    target = ("all", "--configfile", str(file))
    jobs = jobs_of(load_experiment(file))
    commands = snakemake(ROOT, "-n", "--forceall", "--printshellcmds", *target).stdout
    logs = set(re.findall(rf"> results/{name}/(\S+\.log) 2>&1", commands))
    assert {job.log for job in jobs} == logs
    for verb, stage in re.findall(r"e2mc ([\w-]+) .*> results/\w+/logs/(\w+)/", commands):
        of_two = (verb, stage[:8]) in (("extract", "extract_"), ("pretrain", "trajecto"))
        assert verb.replace("-", "_") == stage or of_two
    listed = snakemake(ROOT, "--list-rules", "--configfile", str(file)).stdout.split()
    # an experiment whose probes all go over cached views has no fresh ones
    everywhere = set(STAGES) - {"linear_online"}
    assert everywhere | {job.stage for job in jobs} <= set(listed)
    summary = snakemake(ROOT, "--summary", *target).stdout.splitlines()
    outputs = {line.split("\t")[0].removeprefix(f"results/{name}/") for line in summary}
    assert {file for job in jobs for file in job.outputs} <= outputs


ESTIMATE = re.compile(r"^(\d+) jobs: (.*)$", re.MULTILINE)


def test_a_dry_run_says_what_it_takes(tmp_path: Path) -> None:
    paper = ("--configfile", "config/paper.yaml")
    folder = checkout(tmp_path)
    output = snakemake(folder, "-n", "all", *paper)
    assert (output.stdout + output.stderr).count("\n") <= 60
    ((count, text),) = ESTIMATE.findall(output.stdout)
    assert output.stdout.index(text) < output.stdout.index("Job stats")
    assert text == f"{estimate(load_experiment(ROOT / 'config/paper.yaml'))}."
    assert int(count) == planned(folder, "all", *paper).total()
    ((_, text),) = ESTIMATE.findall(snakemake(folder, "-n", "table_d1", *paper).stdout)
    assert "3 training runs and 18 evaluations, about 100 GPU-hours" in text
    for question in ("--dag", "--lint"):
        done = snakemake(folder, question)
        assert not ESTIMATE.search(done.stdout + done.stderr)


def test_a_run_says_what_it_takes_once(finished: Path) -> None:
    assert len(ESTIMATE.findall((finished / "screen.txt").read_text())) == 1


def test_nothing_is_to_be_done_twice(done: Path) -> None:
    assert planned(done, "all") == Counter()


def test_a_deleted_table_reruns_only_its_own_rule(done: Path) -> None:
    (done / "results/demo/tables/table3.csv").unlink()
    jobs = planned(done, "all")
    assert {name: count for name, count in jobs.items() if name != "all"} == {
        "table": 1,
        "index": 1,
    }


@pytest.mark.parametrize(
    ("keys", "value", "rerun", "untouched"),
    [
        (
            ("evaluation", "voc07", "folds"),
            4,
            {"voc07", "significance", "table"},
            {"pretrain", "linear", "extract_imagenet", "extract_transfer", "figure"},
        ),
        (
            ("criteria", "e2mc", "simsiam", "entropy_weight"),
            0.5,
            {"pretrain", "extract_imagenet", "linear", "table"},
            {"scratch", "import_checkpoint", "semisup"},
        ),
        (
            ("evaluation", "linear", "vicreg", 10, "weight_decay"),
            0.5,
            {"linear_online", "table", "figure"},
            {"pretrain", "extract_imagenet", "linear", "semisup", "voc07", "inat18"},
        ),
        (
            ("evaluation", "knn", "temperature"),
            0.1,
            {"knn", "figure"},
            {"pretrain", "extract_imagenet", "linear", "linear_online", "semisup"},
        ),
        (("description",), "another", set(), {"pretrain", "table"}),
    ],
)
def test_a_changed_key_reruns_exactly_what_depends_on_it(
    done: Path, keys: tuple[str, ...], value: object, rerun: set[str], untouched: set[str]
) -> None:
    edit(done, *keys, value=value)
    jobs = set(planned(done, "all"))
    assert rerun <= jobs
    assert not untouched & jobs


def test_only_the_base_of_a_changed_method_is_retrained(done: Path) -> None:
    edit(done, "methods", "swav", "continued", "epochs", value=3)
    output = snakemake(done, "-n", "--verbose", "all").stdout
    retrained = re.findall(r"Continuing (\S+): (\S+),", output)
    assert {base for base, _ in retrained} == {"swav-30"}


def test_an_unknown_key_stops_before_any_job(done: Path) -> None:
    edit(done, "trails", value=3)
    refused = snakemake(done, "-n", "all")
    assert refused.returncode != 0
    assert "unknown key 'trails': did you mean 'trials'?" in refused.stdout + refused.stderr


def test_another_configuration_file_replaces_the_demo_altogether(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    content = yaml.safe_load((folder / "config/demo.yaml").read_text())
    content["name"] = "other"
    content["bases"] = {"vicreg-30": content["bases"]["vicreg-30"]}
    content["tables"] = content["figures"] = {}
    (folder / "other.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    jobs = planned(folder, "all", "--configfile", "other.yaml")
    assert jobs["scratch"] == 1
    overridden = planned(folder, "all", "--configfile", "other.yaml", "--config", "trials=1")
    assert overridden["pretrain"] == 2


def test_a_configuration_without_a_name_is_not_merged_with_the_demo(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    (folder / "nameless.yaml").write_text("trials: 1\n")
    refused = snakemake(folder, "-n", "all", "--configfile", "nameless.yaml")
    assert refused.returncode != 0
    assert "name: Field required" in refused.stdout + refused.stderr


def test_a_mistake_names_the_file_and_line_of_the_configuration(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    file = folder / "config/demo.yaml"
    file.write_text("trails: 3\n" + file.read_text())
    refused = snakemake(folder, "-n", "all")
    said = refused.stdout + refused.stderr
    assert "config/demo.yaml, line 1: unknown key 'trails'" in said
    assert "common.smk" not in said
    file.write_text(file.read_text().replace("trails: 3", "trials: 3"))
    assert "'trials' stands already in line 1" in snakemake(folder, "-n", "all").stderr


@pytest.mark.parametrize(
    "name",
    ["a;touch INJECTED;b.pth", "$(touch INJECTED).pth", "my model.pth", "it's.pth", 'a"b.pth'],
)
def test_no_path_is_a_command(tmp_path: Path, name: str) -> None:
    """In a folder with a blank, whose name stands in PATH as well."""
    folder = tmp_path / "a folder"
    checkout(folder)
    (folder / name).write_text("")
    edit(folder, "bases", "vicreg-30", "checkpoint", value=name)
    (folder / "e2mc").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > arguments.txt\nexit 1\n')
    (folder / "e2mc").chmod(0o755)
    target = "results/demo/checkpoints/vicreg-30.safetensors"
    assert snakemake(folder, target).returncode != 0
    arguments = (folder / "arguments.txt").read_text().splitlines()
    assert arguments[arguments.index("--source") + 1] == name
    assert not (folder / "INJECTED").exists()
