"""What values may be, where several keys mean the same kind of value."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

Values = TypeVar("Values", bound=tuple[Any, ...])


def _distinct(values: Values) -> Values:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} is named twice")
    return values


def _some(values: Values) -> Values:
    if not values:
        raise ValueError("at least one value is needed")
    return values


def _increasing(values: Values) -> Values:
    if list(values) != sorted(set(values)):
        raise ValueError(f"{list(values)} must increase from one to the next")
    return values


def _range(values: tuple[float, float]) -> tuple[float, float]:
    low, high = values
    if low > high:
        raise ValueError(f"{low:g} is more than {high:g}: the smaller end comes first")
    return values


Distinct = AfterValidator(_distinct)
Some = AfterValidator(_some)

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=1_000_000)]
"""Channels or units of a layer."""
Share = Annotated[float, Field(gt=0, le=1)]
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_range)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_range)]
Deviations = tuple[Positive, Positive, Positive]
"""Standard deviations of red, green and blue."""
Milestones = Annotated[tuple[Count, ...], AfterValidator(_increasing)]
"""Epochs at which a rate changes."""

BaseName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
"""A name in paths, and no option of a command."""
CriterionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=64)]
TreeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$", max_length=64)]
