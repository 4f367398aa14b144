"""The base of every configuration model: unknown keys are errors, partial sections complete."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from e2mc.config.yaml_file import place
from e2mc.errors import E2MCError


def _plain(value: Any) -> Any:
    """A default as plain nested mappings, one level deep at a time."""
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return value


def overlay(default: Any, given: Any) -> Any:
    """``given`` over ``default``: mappings are merged key by key, anything else is replaced."""
    default = _plain(default)
    if not isinstance(default, Mapping) or not isinstance(given, Mapping):
        return given
    # YAML writes the key 1 as a string inside quotes and as a number without.
    names = {str(key): key for key in default}
    merged = dict(default)
    for key, value in given.items():
        known = names.get(str(key), key)
        merged[known] = overlay(default.get(known), value)
    return merged


class Strict(BaseModel):
    """A frozen section of the configuration.

    A misspelt key is refused with the nearest valid name. A section that is given in part keeps
    the default of every key it does not mention, however deeply nested.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        for key in given:
            if key not in cls.model_fields:
                raise ValueError(_unknown(str(key), list(cls.model_fields)))
        completed = dict(given)
        for name, field in cls.model_fields.items():
            if name in given and not field.is_required():
                default = field.get_default(call_default_factory=True)
                completed[name] = overlay(default, given[name])
        return completed


Key = tuple[str | int, ...]

Model = TypeVar("Model", bound=Strict)


def validated(
    model: type[Model],
    content: Any,
    source: str,
    manual: str,
    files: Sequence[Path | str] = (),
) -> Model:
    """``content`` as ``model``; ``source`` and ``manual`` name it and its explanation in errors.

    Args:
        model: what it must be.
        content: keys and values.
        source: what it is called in errors.
        manual: where its keys are explained.
        files: the YAML files that it was read from, each laid over those before it.

    Raises:
        E2MCError: one line per mistake, each with its dotted key, and its file and line.
    """
    mistakes = list(_impossible(content, (), set()))
    try:
        if not mistakes:
            return model.model_validate(content)
    except ValidationError as error:
        mistakes = [
            (one["loc"], one["msg"].removeprefix("Value error, ")) for one in error.errors()
        ]
    lines = [f"{source} is not a valid {model.__name__.lower()}:"]
    for key, message in mistakes:
        where = ".".join(map(str, key))
        at = place(files, (*key, *_keys_in(message)))
        lines.append("  " + ": ".join(part for part in (at, where, message) if part))
    lines.append(f"Every key is explained in {manual}.")
    raise E2MCError("\n".join(lines))


LARGEST = 1e12
"""No setting is larger: what is, would only fail much later."""


def _impossible(value: Any, key: Key, seen: set[int]) -> Iterator[tuple[Key, str]]:
    """Values that no key of any model can have, whatever its type."""
    if isinstance(value, Mapping | list | tuple):
        if id(value) in seen:
            return
        seen.add(id(value))
        inner = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, item in inner:
            yield from _impossible(item, (*key, str(name)), seen)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        yield key, f"must be a finite number of at most {LARGEST:g}"
    elif isinstance(value, str) and any(not (c.isprintable() or c in "\n\t") for c in value):
        yield key, "holds a character that cannot be printed"


def _keys_in(message: str) -> list[str]:
    """The key that a message names: first word before a colon, or an unknown one."""
    unknown = re.match(r"unknown key '([^']+)'", message)
    return [unknown[1]] if unknown else message.split(":")[0].split(".")


def _unknown(key: str, valid: list[str]) -> str:
    nearest = get_close_matches(key, valid, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"valid keys: {', '.join(valid)}"
    return f"unknown key '{key}': {hint}"
