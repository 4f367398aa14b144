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


@pytest.mark.parametrize("package", ["e2mc.criteria", "e2mc.statistics"])
def test_library_packages_need_only_the_library_dependencies(package: str) -> None:
    allowed = {requirement.name for requirement in LIBRARY}
    forbidden = sorted(
        {requirement.name.replace("-", "_") for requirement in PIPELINE} - allowed
        | {"PIL", "yaml", "sklearn"}
    )
    # A name that is None in sys.modules cannot be imported.
    program = f"import sys; sys.modules.update(dict.fromkeys({forbidden})); import {package}"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_snakemake_starts_where_only_the_library_was_installed() -> None:
    """It imports every executor plugin it finds, whatever it is to do."""
    absent = ["submitit", "e2mc.cluster"]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); import snakemake.cli as c"
    program += "; assert '--submitit-settings' in c.get_argument_parser().format_help()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
