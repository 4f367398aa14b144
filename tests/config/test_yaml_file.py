"""YAML is read strictly, and every mistake has its line."""

from pathlib import Path

import pytest

from e2mc.config import load_experiment
from e2mc.config.yaml_file import place, read_mapping
from e2mc.errors import E2MCError

ROOT = Path(__file__).parents[2]


def written(folder: Path, content: str | bytes) -> Path:
    file = folder / "experiment.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", r"line 4: 'b\.c' stands already in line 3"),
        (b"name: caf\xe9\n", "not a text file in UTF-8"),
        ("a: &a\n  b: *a\n", "an alias stands inside what it is an alias of"),
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: 2026-13-45\n", "not valid YAML"),
        ("- 1\n", "does not hold a mapping"),
        ("", "does not hold a mapping"),
    ],
)
def test_what_is_no_configuration_is_refused_by_name(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    with pytest.raises(E2MCError, match=problem) as refused:
        read_mapping(written(tmp_path, content))
    assert "experiment.yaml" in str(refused.value)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(E2MCError, match="cannot read"):
        read_mapping(tmp_path)


def test_numbers_to_the_base_60_are_text(tmp_path: Path) -> None:
    content = read_mapping(written(tmp_path, "a: 1:30\nb: 90\nc: 1.5\nd: 1.0e-6\ne: 1:30.5\n"))
    assert content == {"a": "1:30", "b": 90, "c": 1.5, "d": 1e-6, "e": "1:30.5"}


def test_an_alias_and_a_merge_may_repeat_keys(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, x: 3}\n"
    content = read_mapping(written(tmp_path, text))
    assert content["b"] == {"x": 1, "y": 2}
    assert content["c"] == {"x": 3, "y": 2}


def test_the_last_file_that_has_a_key_names_its_line(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("a:\n  b: 1\n  c: 2\n")
    two.write_text("a:\n\n  c: [3,\n   4]\n")
    assert place([one, two], ("a", "b")) == f"{one}, line 2"
    assert place([one, two], ("a", "c", 1)) == f"{two}, line 4"
    assert place([one, two], ("a", "tag", "c")) == f"{two}, line 3"
    assert place([one, two], ("z",)) == ""


def test_a_mistake_is_said_with_file_line_and_key(tmp_path: Path) -> None:
    lines = (ROOT / "config/demo.yaml").read_text().splitlines()
    number = next(at for at, line in enumerate(lines) if line.startswith("trials:"))
    lines[number] = "trials: 1:30"
    file = written(tmp_path, "\n".join(lines))
    with pytest.raises(E2MCError, match=rf"experiment\.yaml, line {number + 1}: trials: "):
        load_experiment(file)
