"""Typed and JSON filters made at random: what they mean, and that nothing else gets through."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.errors import UsageError
from proxyhash.index.filter_text import parse_filter_text
from proxyhash.index.filters import filter_to_json, matches, parse_filter

Decide: TypeAlias = Callable[[dict[str, object]], bool]
Meant: TypeAlias = tuple[str, Decide]
"""A filter as it is typed, and a slow way to decide it that knows nothing of the parser."""

KEYWORDS = ("and", "or", "not", "contains", "true", "false", "null")
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

often = settings(max_examples=200, deadline=None, derandomize=True)

fields = st.sampled_from(["a", "b.c", "ü x", "not", "say 'hi'", 'back\\slash"', "(", "größe"])
texts = st.text("ab ü'\"\\(=\n9", max_size=3) | st.sampled_from([*KEYWORDS, "10kg", "3", "-1e5"])
numbers = st.integers(-3, 3) | st.floats(-4, 4) | st.integers(-(2**63) + 1, 2**63 - 1)
scalars = texts | numbers | st.booleans() | st.none()
payloads = st.dictionaries(
    fields, scalars | st.lists(scalars, max_size=3) | st.just({"a": 1}), max_size=4
)


def any_case(draw: st.DrawFn, word: str) -> str:
    return draw(st.sampled_from([word, word.upper(), word.title()]))


def typed_text(draw: st.DrawFn, text: str) -> str:
    if text.isalpha() and text not in KEYWORDS and draw(st.booleans()):
        return text
    quote = draw(st.sampled_from("'\""))
    return quote + text.replace("\\", r"\\").replace(quote, "\\" + quote) + quote


def typed(draw: st.DrawFn, value: object) -> str:
    if isinstance(value, str):
        return typed_text(draw, value)
    return any_case(draw, json.dumps(value))


def kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def rank(value: object) -> object:
    """What orders a value among those of its kind: exact numbers, texts as UTF-8."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return Fraction(value)
    return value.encode() if isinstance(value, str) else value


def same(one: object, other: object) -> bool:
    return kind(one) == kind(other) and rank(one) == rank(other)


@st.composite
def conditions(draw: st.DrawFn) -> Meant:
    field, value = draw(fields), draw(scalars)
    sign = draw(st.sampled_from(["=", "==", "!=", "contains", *ORDERS]))
    if sign in ORDERS:
        value = draw(texts | numbers)
    word = any_case(draw, sign) if sign == "contains" else sign
    text = f"{typed_text(draw, field)} {word} {typed(draw, value)}"

    def decide(payload: dict[str, object]) -> bool:
        found = payload.get(field)
        if sign == "contains":
            return isinstance(found, list) and any(same(each, value) for each in found)
        if sign in ORDERS:
            return kind(found) == kind(value) and ORDERS[sign](rank(found), rank(value))
        return same(found, value) is (sign != "!=")

    return text, decide


@st.composite
def joined(draw: st.DrawFn, parts: st.SearchStrategy[Meant]) -> Meant:
    """Several parts joined by `and` and `or`, `and` first."""
    rows = draw(st.lists(st.lists(parts, min_size=1, max_size=3), min_size=1, max_size=3))
    both, either = (f" {any_case(draw, word)}\n" for word in ("and", "or"))
    text = either.join(both.join(text for text, _ in row) for row in rows)
    return text, lambda payload: any(all(decide(payload) for _, decide in row) for row in rows)


def negated(part: Meant) -> Meant:
    text, decide = part
    return f"not {text}", lambda payload: not decide(payload)


def bracketed(part: Meant) -> Meant:
    text, decide = part
    return f"({text})", decide


parts = st.recursive(
    conditions(),
    lambda inner: inner.map(negated) | joined(inner).map(bracketed),
    max_leaves=5,
)
typed_filters = joined(parts)


@often
@given(typed_filters, st.lists(payloads, min_size=1, max_size=5))
def test_a_typed_filter_means_what_it_says(
    filter_: Meant, payloads: list[dict[str, object]]
) -> None:
    text, decide = filter_
    parsed = parse_filter_text(text)
    for payload in payloads:
        assert matches(parsed, payload) is decide(payload)
    assert parse_filter_text(json.dumps(filter_to_json(parsed))) == parsed


@often
@given(typed_filters, st.data())
def test_a_damaged_filter_is_refused_or_is_another_filter(
    filter_: Meant, data: st.DataObject
) -> None:
    text = filter_[0]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 2))
        put = data.draw(st.sampled_from(["", "(", ")", "'", '"', "\\", "!", "=", "\ud800", " or "]))
        text = text[:place] + put + text[place + cut :]
    with suppress(UsageError):
        parsed = parse_filter_text(text)
        assert parse_filter(filter_to_json(parsed)) == parsed


words = st.sampled_from(
    ["field", "eq", "contains", "gt", "ge", "lt", "le", "and", "or", "not", "", "\ud800"]
)
wild = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**30, -(2**63), "\ud800", "ü", "a"])
)
any_json = st.recursive(
    wild,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(words, inner, max_size=3)
        | st.fixed_dictionaries({"field": st.just("a")}, optional={"eq": inner, "lt": inner})
        | st.fixed_dictionaries({"and": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"not": inner})
    ),
    max_leaves=10,
)


@often
@given(any_json, payloads)
def test_any_json_is_refused_or_read_and_written_alike(
    value: object, payload: dict[str, object]
) -> None:
    with suppress(UsageError):
        parsed = parse_filter(value)
        assert isinstance(matches(parsed, payload), bool)
        written = filter_to_json(parsed)
        assert written == value
        assert parse_filter(json.loads(json.dumps(written, allow_nan=False))) == parsed
