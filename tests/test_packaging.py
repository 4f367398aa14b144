"""The package declares what it imports, and its two environments agree."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIBRARY = [Requirement(line) for line in PROJECT["dependencies"]]
PIPELINE = [Requirement(line) for line in PROJECT["optional-dependencies"]["pipeline"]]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    for requirement in LIBRARY + PIPELINE:
        assert requirement.specifier.contains(PINS[requirement.name]), requirement


def test_conda_environment_has_the_same_packages_at_the_same_versions() -> None:
    environment = yaml.safe_load((ROOT / "envs/e2mc.yaml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert dict(line.split("==") for line in pip) == {
        requirement.name: PINS[requirement.name] for requirement in LIBRARY + PIPELINE
    }


def test_pins_name_no_build_of_one_machine() -> None:
    assert not [pin for pin in PINS.values() if "+" in pin]


ABSENT = sorted(
    {requirement.name.replace("-", "_") for requirement in PIPELINE} | {"PIL", "yaml", "sklearn"}
)


def where_only_the_library_was_installed(program: str) -> subprocess.CompletedProcess[str]:
    """A name that is None in sys.modules cannot be imported."""
    program = f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); {program}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("package", ["e2mc.criteria", "e2mc.statistics"])
def test_the_library_needs_only_its_dependencies(package: str) -> None:
    finished = where_only_the_library_was_installed(f"import {package}")
    assert finished.returncode == 0, finished.stderr


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return where_only_the_library_was_installed(
        f"sys.argv[0] = 'e2mc'; from e2mc.cli import main; main({list(arguments)})"
    )


def test_compare_version_and_help_work_without_the_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("sample,label,prediction\n1,a,a\n2,b,a\n")
    for arguments, expected in (
        (["compare", str(file), str(file)], "No clear difference"),
        (["--version"], f"e2mc {PROJECT['version']}"),
        (["--help"], "compare"),
    ):
        finished = command(*arguments)
        assert expected in finished.stdout, finished.stderr
        assert finished.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor"],
        ["status"],
        ["table", "table1", "--csv", "a", "--tex", "b"],
        ["fetch", "cifar10", "--folder", "data"],
    ],
)
def test_other_verbs_say_what_to_install(arguments: list[str]) -> None:
    finished = command(*arguments)
    assert finished.returncode == 1
    assert 'pip install "e2mc[pipeline]"' in finished.stderr
    assert len(finished.stderr.splitlines()) == 1, finished.stderr


def test_snakemake_starts_where_only_the_library_was_installed() -> None:
    """It imports every executor plugin it finds, whatever it is to do."""
    absent = ["submitit", "e2mc.cluster"]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); import snakemake.cli as c"
    program += "; assert '--submitit-settings' in c.get_argument_parser().format_help()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
