"""Which package may import which: read from the source, as `docs/architecture.md` shows it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ORDER = (
    ("errors", "process", "gpus", "vision", "criteria", "statistics"),
    ("config", "files", "warm"),
    ("lock", "models"),
    ("download", "provenance", "methods"),
    ("data", "plan"),
    ("training",),
    ("evaluation", "cluster"),
    ("reporting", "status", "doctor"),
    ("cli",),
)
"""Packages and modules of `e2mc` by level: each imports from levels above it in this list only."""

INDEPENDENT = ("errors", "vision", "criteria", "statistics")
"""These import nothing of `e2mc`; criteria and statistics are libraries of their own."""


def imports_of(package: str) -> Iterator[tuple[Path, str]]:
    """Every module or name of `e2mc` that a package's source mentions in an import."""
    top = ROOT / "e2mc" / package
    for path in sorted(top.rglob("*.py")) if top.is_dir() else [top.with_suffix(".py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                yield from ((path, f"{node.module}.{alias.name}") for alias in node.names)


def arrows() -> dict[str, set[str]]:
    """Package -> the other packages that it imports."""
    tops = [path for path in (ROOT / "e2mc").iterdir() if path.suffix == ".py" or path.is_dir()]
    packages = {path.stem for path in tops} - {"__init__", "__main__", "__pycache__", "py"}
    named = {one: {name for _, name in imports_of(one)} for one in packages}
    imported = {
        one: {name.split(".")[1] for name in names if name.startswith("e2mc.")}
        for one, names in named.items()
    }
    return {one: names & packages - {one} for one, names in imported.items()}


def test_every_arrow_points_to_an_earlier_level() -> None:
    level = {package: number for number, row in enumerate(ORDER) for package in row}
    found = arrows()
    assert set(found) == set(level)
    upwards = [
        f"{one} imports {other}"
        for one, others in found.items()
        for other in others
        if level[other] >= level[one]
    ]
    assert not upwards
    assert not {one: found[one] for one in INDEPENDENT if found[one]}


def test_the_graph_stays_small() -> None:
    """Not a law: whoever adds an arrow sees it here."""
    found = arrows()
    assert len(found) <= 24
    assert len(ORDER) <= 9
    assert sum(map(len, found.values())) <= 95


def test_the_architecture_page_lists_the_same_levels() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)
    rows = [(package, str(level)) for level, row in enumerate(ORDER, 1) for package in row]
    assert listed == rows


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for package in arrows():
        for path, name in imports_of(package):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            graph.setdefault(module.removesuffix(".__init__"), set()).add(_module(name))
    TopologicalSorter({one: others - {one} for one, others in graph.items()}).prepare()


def _module(name: str) -> str:
    """A module as it is; its module, where the name is a function or class."""
    path = ROOT.joinpath(*name.split("."))
    is_module = path.is_dir() or path.with_suffix(".py").exists()
    return name if is_module else name.rpartition(".")[0]


@pytest.mark.parametrize("package", ["reporting", "statistics", "config", "plan", "download"])
def test_these_need_no_torch(package: str) -> None:
    """Importing torch takes seconds, which tables, plans and downloads shall not cost."""
    modules = sorted((ROOT / "e2mc" / package).glob("*.py"))
    names = [f"e2mc.{package}.{path.stem}" for path in modules if path.stem != "__init__"]
    program = f"import sys, {', '.join(names)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
