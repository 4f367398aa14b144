"""No configuration, however it is changed, ends in anything but an experiment or a message."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as any_of

from e2mc.config import load_experiment, parse_experiment
from e2mc.errors import E2MCError
from e2mc.plan import needs, recorded
from e2mc.plan.jobs import jobs

DEMO = (Path(__file__).parents[2] / "config/demo.yaml").read_text()

SCALARS = (
    any_of.none()
    | any_of.booleans()
    | any_of.integers()
    | any_of.floats()
    | any_of.text(max_size=400)
    | any_of.sampled_from(["", ".", "..", "-x", "--help", "base", "a/b", "$(x)", "\0", "1:30"])
)
VALUES = any_of.recursive(
    SCALARS,
    lambda inner: (
        any_of.lists(inner, max_size=4)
        | any_of.dictionaries(any_of.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def keys(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key of nested mappings and lists."""
    if not isinstance(content, dict | list):
        return []
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    return [key for name, item in inner for key in ((*at, name), *keys(item, (*at, name)))]


CHANGE = any_of.tuples(any_of.sampled_from(keys(yaml.safe_load(DEMO))), VALUES)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, derandomize=True)
@given(changes=any_of.lists(CHANGE, min_size=1, max_size=3))
def test_any_value_of_any_key(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    content = yaml.safe_load(DEMO)
    for key, value in changes:
        section = content
        for part in key[:-1]:
            section = section[part] if section and _has(section, part) else None
        if section is not None and _has(section, key[-1]):
            section[key[-1]] = value
    try:
        experiment = parse_experiment(content, "fuzz")
    except E2MCError:
        return
    planned(experiment)


def _has(section: Any, part: Any) -> bool:
    if isinstance(section, list):
        return isinstance(part, int) and part < len(section)
    return isinstance(section, dict) and part in section


def planned(experiment: Any) -> None:
    """What passes can be planned."""
    assert jobs(experiment)
    cells = needs.all_inputs(experiment)
    assert recorded.other_settings(experiment, Path("nowhere"), cells) == []


@pytest.mark.slow
@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(at=any_of.integers(0, len(DEMO)), text=any_of.binary(max_size=40))
def test_any_bytes_in_the_file(tmp_path: Path, at: int, text: bytes) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_bytes(DEMO[:at].encode() + text + DEMO[at:].encode())
    try:
        planned(load_experiment(file))
    except E2MCError as error:
        assert "experiment.yaml" in str(error) or "data." in str(error)
