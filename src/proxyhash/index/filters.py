"""Conditions on payloads: their classes, their JSON form, and their meaning.

`matches` is the meaning; a backend that translates a filter into its own language (SQL, Milvus
expressions) must let through exactly the same items.

A field that a payload lacks counts as null. A comparison of two kinds of value (a number with a
string) is false, and so is any order with null, a boolean or a list; `not` turns that around.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from proxyhash.errors import UsageError
from proxyhash.payload import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "And",
    "Contains",
    "Equals",
    "Filter",
    "Not",
    "Or",
    "Range",
    "check_fields",
    "conditions_of",
    "filter_to_json",
    "matches",
    "parse_filter",
]

Scalar: TypeAlias = "str | int | float | bool | None"
Ordered: TypeAlias = "str | int | float"

BOUNDS = ("gt", "ge", "lt", "le")
MAX_DEPTH = 16
_MOST_SHOWN = 8
MAX_CONDITIONS = 256
MAX_FIELDS = 32
"""Different fields in one filter: each may have to be read from all payloads."""


@dataclass(frozen=True, slots=True)
class Equals:
    """The field has this value; 1 and 1.0 are equal, 1 and true are not."""

    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Range:
    """The field is a number (or a string) within these bounds, of which one at least is given."""

    field: str
    gt: Ordered | None = None
    ge: Ordered | None = None
    lt: Ordered | None = None
    le: Ordered | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, bound) is None for bound in BOUNDS):
            raise UsageError(f"a range of {self.field!r} needs one of {', '.join(BOUNDS)}")


@dataclass(frozen=True, slots=True)
class Contains:
    """The field is a list with this value in it."""

    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold; true without parts."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds; false without parts."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter: TypeAlias = Equals | Range | Contains | And | Or | Not


def matches(filter: Filter, payload: Mapping[str, object]) -> bool:  # noqa: A002
    """Whether a payload meets a filter."""
    match filter:
        case Equals(field, value):
            return _equal(payload.get(field), value)
        case Contains(field, value):
            values = payload.get(field)
            return isinstance(values, list | tuple) and any(_equal(one, value) for one in values)
        case Range(field):
            return _within(payload.get(field), filter)
        case And(parts):
            return all(matches(part, payload) for part in parts)
        case Or(parts):
            return any(matches(part, payload) for part in parts)
        case Not(part):
            return not matches(part, payload)


def parse_filter(json: Any) -> Filter:
    """Return the filter that decoded JSON stands for.

    A condition is {"field": NAME} with "eq": VALUE, or "contains": VALUE, or bounds out of "gt",
    "ge", "lt" and "le"; conditions are joined by {"and": [...]}, {"or": [...]} and {"not": ...}.

    Raises:
        UsageError: "filter.and[1].lt is null; a bound is a number or a string"; says the place.

    Example:
        >>> parse_filter({"and": [{"field": "labels", "contains": "dog"},
        ...                       {"not": {"field": "price", "ge": 10}}]})
        And(parts=(Contains(field='labels', value='dog'), Not(part=Range(field='price', gt=None,\
 ge=10, lt=None, le=None))))
    """
    budget = [MAX_CONDITIONS]
    return check_fields(_parse(json, "filter", 1, budget))


def conditions_of(filter: Filter) -> list[Equals | Range | Contains]:  # noqa: A002
    """Return the conditions on fields that a filter joins."""
    match filter:
        case And(parts) | Or(parts):
            return [condition for part in parts for condition in conditions_of(part)]
        case Not(part):
            return conditions_of(part)
        case _:
            return [filter]


def check_fields(filter: Filter) -> Filter:  # noqa: A002
    """Return a filter that does not ask for too many fields.

    Raises:
        UsageError: "the filter asks for 255 different fields; it may ask for up to 32".
    """
    count = len({condition.field for condition in conditions_of(filter)})
    if count > MAX_FIELDS:
        raise UsageError(
            f"the filter asks for {count} different fields; it may ask for up to {MAX_FIELDS}"
        )
    return filter


def filter_to_json(filter: Filter) -> dict[str, Any]:  # noqa: A002
    """Return the JSON form of a filter, which `parse_filter` turns back into an equal one."""
    match filter:
        case Equals(field, value):
            return {"field": field, "eq": value}
        case Contains(field, value):
            return {"field": field, "contains": value}
        case Range(field):
            bounds = {name: getattr(filter, name) for name in BOUNDS}
            return {"field": field} | {
                name: bound for name, bound in bounds.items() if bound is not None
            }
        case And(parts):
            return {"and": [filter_to_json(part) for part in parts]}
        case Or(parts):
            return {"or": [filter_to_json(part) for part in parts]}
        case Not(part):
            return {"not": filter_to_json(part)}


def _parse(json: Any, place: str, depth: int, budget: list[int]) -> Filter:
    if depth > MAX_DEPTH:
        raise UsageError(f"{place} is nested more than {MAX_DEPTH} deep")
    budget[0] -= 1
    if budget[0] < 0:
        raise UsageError(f"the filter has more than {MAX_CONDITIONS} conditions")
    if not isinstance(json, dict):
        raise UsageError(f"{place} is {_shown(json)}; a condition is a JSON object")
    keys = set(json)
    if keys in ({"and"}, {"or"}):
        (key,) = keys
        if not isinstance(json[key], list):
            raise UsageError(f"{place}.{key} is {_shown(json[key])}; it joins a list of conditions")
        parts = tuple(
            _parse(part, f"{place}.{key}[{place_}]", depth + 1, budget)
            for place_, part in enumerate(json[key])
        )
        return And(parts) if key == "and" else Or(parts)
    if keys == {"not"}:
        return Not(_parse(json["not"], f"{place}.not", depth + 1, budget))
    return _condition(json, place)


def _condition(json: dict[str, Any], place: str) -> Filter:
    field = json.get("field")
    if not isinstance(field, str) or not field:
        raise UsageError(
            f"{place} has the keys {_shown_keys(json)}; it needs 'field' with a name, "
            "or one of 'and', 'or' and 'not' alone"
        )
    _check_value(field, f"{place}.field")
    rest = {key: value for key, value in json.items() if key != "field"}
    if set(rest) == {"eq"} or set(rest) == {"contains"}:
        ((key, value),) = rest.items()
        if not isinstance(value, str | int | float | bool | None):
            raise UsageError(
                f"{place}.{key} is {_shown(value)}; it is a string, a number, true, false or null"
            )
        _check_value(value, f"{place}.{key}")
        return Equals(field, value) if key == "eq" else Contains(field, value)
    if rest and set(rest) <= set(BOUNDS):
        for key, value in rest.items():
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise UsageError(
                    f"{place}.{key} is {_shown(value)}; a bound is a number or a string"
                )
            _check_value(value, f"{place}.{key}")
        return Range(field, **rest)
    raise UsageError(
        f"{place} asks {_shown_keys(rest)} of {field!r}; it takes 'eq', or 'contains', or "
        "bounds out of 'gt', 'ge', 'lt' and 'le'"
    )


def _check_value(value: Scalar, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{place} is {value}; numbers are finite")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise UsageError(f"{place} has more than 64 bits; write a number of this size with a point")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"{place} is {_shown(value)}, which is not valid Unicode") from None


def _equal(found: object, value: Scalar) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    if isinstance(found, int | float) and isinstance(value, int | float):
        return found == value
    return type(found) is type(value) and found == value


_HOLDS = (
    ("gt", operator.gt),
    ("ge", operator.ge),
    ("lt", operator.lt),
    ("le", operator.le),
)


def _within(found: object, bounds: Range) -> bool:
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return False
    for name, holds in _HOLDS:
        bound = getattr(bounds, name)
        if bound is None:
            continue
        if isinstance(found, str) != isinstance(bound, str) or not holds(found, bound):
            return False
    return True


def _shown_keys(json: dict[str, Any]) -> str:
    few = [str(key)[:40] for key in islice(json, _MOST_SHOWN)]
    return f"{sorted(few)}{' and more' if len(json) > _MOST_SHOWN else ''}"


def _shown(value: object) -> str:
    try:
        text = "null" if value is None else ascii(value)
    except (RecursionError, ValueError):  # nests too deep, or has a number of thousands of digits
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 40 else text[:37] + "..."
