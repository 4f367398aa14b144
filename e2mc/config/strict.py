"""The base of every configuration model: unknown keys are errors, partial sections complete."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

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


Model = TypeVar("Model", bound=Strict)


def read_mapping(path: Path | str) -> dict[str, Any]:
    """The content of a YAML file that holds keys and values.

    Raises:
        E2MCError: no such file, not YAML, or something else than a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise E2MCError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise E2MCError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise E2MCError(f"{path} does not hold a mapping of configuration keys")
    return content


def validated(model: type[Model], content: Any, source: str, manual: str) -> Model:
    """``content`` as ``model``; ``source`` and ``manual`` name it and its explanation in errors.

    Raises:
        E2MCError: one line per mistake, each with its dotted key.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [f"{source} is not a valid {model.__name__.lower()}:"]
        for mistake in error.errors():
            where = ".".join(str(part) for part in mistake["loc"])
            message = mistake["msg"].removeprefix("Value error, ")
            lines.append(f"  {where}: {message}" if where else f"  {message}")
        lines.append(f"Every key is explained in {manual}.")
        raise E2MCError("\n".join(lines)) from error


def _unknown(key: str, valid: list[str]) -> str:
    nearest = get_close_matches(key, valid, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"valid keys: {', '.join(valid)}"
    return f"unknown key '{key}': {hint}"
