"""Conditions on payloads: what they are, how they are written in JSON, and what they mean.

`matches` is the meaning; a backend that translates a filter into its own language (SQL, Milvus
expressions) must let through exactly the same items.

A field that a payload lacks counts as null. A comparison of two kinds of value (a number with a
string) is false, and so is any order with null, a boolean or a list; `not` turns that around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["And", "Contains", "Equals", "Filter", "Not", "Or", "Range", "matches", "parse_filter"]

Scalar: TypeAlias = "str | int | float | bool | None"
Ordered: TypeAlias = "str | int | float"

MAX_DEPTH = 16
MAX_CONDITIONS = 256


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
    return _parse(json, "filter", 1, budget)


BOUNDS = ("gt", "ge", "lt", "le")


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
            f"{place} has the keys {sorted(map(str, json))}; it needs 'field' with a name, "
            "or one of 'and', 'or' and 'not' alone"
        )
    rest = {key: value for key, value in json.items() if key != "field"}
    if set(rest) == {"eq"} or set(rest) == {"contains"}:
        ((key, value),) = rest.items()
        if not isinstance(value, str | int | float | bool | None):
            raise UsageError(
                f"{place}.{key} is {_shown(value)}; it is a string, a number, true, false or null"
            )
        return Equals(field, value) if key == "eq" else Contains(field, value)
    if rest and set(rest) <= set(BOUNDS):
        for key, value in rest.items():
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise UsageError(
                    f"{place}.{key} is {_shown(value)}; a bound is a number or a string"
                )
        return Range(field, **rest)
    raise UsageError(
        f"{place} asks {sorted(map(str, rest))} of {field!r}; it takes 'eq', or 'contains', or "
        "bounds out of 'gt', 'ge', 'lt' and 'le'"
    )


def _equal(found: object, value: Scalar) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    if isinstance(found, int | float) and isinstance(value, int | float):
        return found == value
    return type(found) is type(value) and found == value


def _within(found: Any, bounds: Range) -> bool:
    def comparable(bound: Ordered) -> bool:
        if isinstance(found, bool):
            return False
        numbers = isinstance(found, int | float) and isinstance(bound, int | float)
        return numbers or (isinstance(found, str) and isinstance(bound, str))

    return all(
        bound is None or (comparable(bound) and holds(found, bound))
        for bound, holds in (
            (bounds.gt, lambda a, b: a > b),
            (bounds.ge, lambda a, b: a >= b),
            (bounds.lt, lambda a, b: a < b),
            (bounds.le, lambda a, b: a <= b),
        )
    )


def _shown(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
