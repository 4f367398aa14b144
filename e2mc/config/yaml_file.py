"""YAML files of keys and values: read strictly, and where each key stands."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from e2mc.errors import E2MCError

Key = tuple[str, ...]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1 without its numbers to the base 60: `1:30` is no 90."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile(pattern.pattern.replace("(?::[0-5]?[0-9])+", "(?!)"), pattern.flags))
        for tag, pattern in resolvers
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_mapping(path: Path | str) -> dict[str, Any]:
    """The content of a YAML file that holds keys and values.

    Raises:
        E2MCError: no such file, not YAML in UTF-8, a key given twice, an alias inside what it
            stands for, or something else than a mapping.
    """
    content, _ = _load(path)
    return content


def place(files: Sequence[Path | str], key: Iterable[object]) -> str:
    """`FILE, line N` of a dotted key, or of the nearest section around it; empty: in no file.

    Parts of the key that stand in no file, such as the kind that pydantic found a union to be, are
    passed over. Of several files the last counts, which is laid over the others.
    """
    found, depth = "", 0
    for path in files:
        _, lines = _load(path)
        at: Key = ()
        for part in map(str, key):
            at = (*at, part) if (*at, part) in lines else at
        if at and len(at) >= depth:
            found, depth = f"{path}, line {lines[at]}", len(at)
    return found


def _load(path: Path | str) -> tuple[dict[str, Any], dict[Key, int]]:
    try:
        loader = _Loader(Path(path).read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
        lines: dict[Key, int] = {}
        _walk(node, (), lines, [], set(), str(path))
        content = loader.construct_document(node) if node is not None else None
    except OSError as error:
        raise E2MCError(f"cannot read {path}: {error.strerror}") from error
    except RecursionError as error:
        raise E2MCError(f"{path} is nested too deeply to be a configuration") from error
    except UnicodeDecodeError as error:
        raise E2MCError(f"{path} is not a text file in UTF-8: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise E2MCError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise E2MCError(f"{path} does not hold a mapping of configuration keys")
    return content, lines


def _walk(
    node: Any, at: Key, lines: dict[Key, int], around: list[int], seen: set[int], path: str
) -> None:
    """Where keys stand, by dotted key; what an alias repeats has its place where it is anchored."""
    if id(node) in around:
        line = node.start_mark.line + 1
        raise E2MCError(f"{path}, line {line}: an alias stands inside what it is an alias of")
    if id(node) in seen:
        return
    seen.add(id(node))
    around = [*around, id(node)]
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            key, line = (*at, str(name.value)), name.start_mark.line + 1
            if key in lines and name.value != "<<":
                raise E2MCError(
                    f"{path}, line {line}: '{'.'.join(key)}' stands already in line {lines[key]}: "
                    "delete one"
                )
            lines[key] = line
            _walk(value, key, lines, around, seen, path)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[*at, str(number)] = item.start_mark.line + 1
            _walk(item, (*at, str(number)), lines, around, seen, path)
