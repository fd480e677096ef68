"""What filters mean, by hand-computed tables, and how their JSON form is read and refused."""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.errors import UsageError
from proxyhash.index.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    And,
    Contains,
    Equals,
    Filter,
    Not,
    Or,
    Range,
    filter_to_json,
    matches,
    parse_filter,
)

PAYLOAD: dict[str, object] = {
    "text": "a dog",
    "labels": ["dog", "snow", 3, None, True],
    "price": 9.5,
    "stock": 4,
    "sold": False,
    "color": None,
    "huge": 2**62 + 1,
    "empty": [],
    "nested": {"price": 1},
}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Equals("text", "a dog"), True),
        (Equals("text", "a DOG"), False),
        (Equals("stock", 4), True),
        (Equals("stock", 4.0), True),
        (Equals("stock", "4"), False),
        (Equals("huge", 2**62 + 1), True),
        (Equals("huge", float(2**62)), False),  # compared exactly, not after rounding
        (Equals("sold", False), True),
        (Equals("sold", 0), False),
        (Equals("sold", None), False),
        (Equals("stock", True), False),
        (Equals("color", None), True),
        (Equals("absent", None), True),
        (Equals("absent", ""), False),
        (Equals("labels", "dog"), False),
        (Equals("nested.price", 1), False),
        (Contains("labels", "dog"), True),
        (Contains("labels", "do"), False),
        (Contains("labels", 3.0), True),
        (Contains("labels", 1), False),  # True is in the list, 1 is not
        (Contains("labels", True), True),
        (Contains("labels", None), True),
        (Contains("empty", None), False),
        (Contains("absent", None), False),
        (Contains("text", "dog"), False),  # a list is asked for, not a part of a text
        (Contains("nested", "price"), False),
    ],
)
def test_equality_and_membership(condition: Filter, expected: bool) -> None:
    assert matches(condition, PAYLOAD) is expected
    assert matches(Not(condition), PAYLOAD) is not expected


@pytest.mark.parametrize(
    ("field", "bounds", "expected"),
    [
        ("price", {"gt": 9}, True),
        ("price", {"gt": 9.5}, False),
        ("price", {"ge": 9.5}, True),
        ("price", {"lt": 9.5}, False),
        ("price", {"le": 9.5}, True),
        ("price", {"gt": 9, "lt": 10}, True),
        ("price", {"gt": 9, "lt": 9.4}, False),
        ("price", {"ge": 1, "le": "z"}, False),
        ("price", {"ge": "0"}, False),
        ("huge", {"gt": 2**62}, True),
        ("huge", {"gt": float(2**62)}, True),
        ("text", {"ge": "a", "lt": "b"}, True),
        ("text", {"ge": 0}, False),
        ("sold", {"ge": 0}, False),
        ("sold", {"lt": 1}, False),
        ("color", {"lt": 1}, False),
        ("absent", {"ge": ""}, False),
        ("labels", {"ge": ""}, False),
    ],
)
def test_ranges(field: str, bounds: dict[str, Any], expected: bool) -> None:
    assert matches(Range(field, **bounds), PAYLOAD) is expected
    assert matches(Not(Range(field, **bounds)), PAYLOAD) is not expected


def test_text_is_ordered_by_code_point() -> None:
    assert matches(Range("t", lt="a"), {"t": "Z"})
    assert matches(Range("t", gt="z"), {"t": "ä"})
    assert matches(Range("t", gt="\uffff"), {"t": "\U00010000"})  # as UTF-8 bytes, not as UTF-16


def test_joins() -> None:
    yes, no = Equals("stock", 4), Equals("stock", 5)
    assert matches(And((yes, yes)), PAYLOAD)
    assert not matches(And((yes, no)), PAYLOAD)
    assert matches(Or((no, yes)), PAYLOAD)
    assert not matches(Or((no, no)), PAYLOAD)
    assert matches(And(()), PAYLOAD)
    assert not matches(Or(()), PAYLOAD)
    assert matches(Not(Or((no, And((yes, no))))), PAYLOAD)


def test_a_range_needs_a_bound() -> None:
    with pytest.raises(UsageError, match="a range of 'price' needs one of gt, ge, lt, le"):
        Range("price")


scalars = (
    st.text(max_size=4)
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
)
fields = st.sampled_from(["a", "b", "ü x"])
bounds = st.dictionaries(
    st.sampled_from(["gt", "ge", "lt", "le"]),
    scalars.filter(lambda value: value is not None and not isinstance(value, bool)),
    min_size=1,
)
filters = st.recursive(
    st.builds(Equals, fields, scalars)
    | st.builds(Contains, fields, scalars)
    | st.builds(lambda field, given: Range(field, **given), fields, bounds),
    lambda inner: (
        st.builds(lambda parts: And(tuple(parts)), st.lists(inner, max_size=3))
        | st.builds(lambda parts: Or(tuple(parts)), st.lists(inner, max_size=3))
        | st.builds(Not, inner)
    ),
    max_leaves=8,
)
payloads = st.dictionaries(fields, scalars | st.lists(scalars, max_size=3), max_size=3)


@given(filters, payloads)
def test_json_and_back_is_the_same_filter(filter_: Filter, payload: dict[str, object]) -> None:
    again = parse_filter(json.loads(json.dumps(filter_to_json(filter_))))
    assert again == filter_
    assert matches(again, payload) == matches(filter_, payload)


@given(filters, filters, payloads)
def test_de_morgan(a: Filter, b: Filter, payload: dict[str, object]) -> None:
    assert matches(Not(And((a, b))), payload) == matches(Or((Not(a), Not(b))), payload)


def test_reads_json() -> None:
    parsed = parse_filter(
        json.loads(
            '{"and": [{"field": "labels", "contains": "dog"}, {"or": []}, '
            '{"not": {"field": "price", "ge": 1, "lt": 2.5}}, {"field": "x", "eq": null}]}'
        )
    )
    assert parsed == And(
        (
            Contains("labels", "dog"),
            Or(()),
            Not(Range("price", ge=1, lt=2.5)),
            Equals("x", None),
        )
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"filter is null; a condition is a JSON object"),
        ([], r"filter is \[\]; a condition"),
        ("x" * 99, r"filter is 'x{36}\.\.\.; a condition"),
        ({}, r"filter has the keys \[\]; it needs 'field'"),
        ({"field": ""}, "needs 'field' with a name"),
        ({"field": 3, "eq": 1}, "needs 'field' with a name"),
        ({"field": "a"}, r"filter asks \[\] of 'a'; it takes 'eq'"),
        ({"field": "a", "eq": 1, "gt": 2}, r"asks \['eq', 'gt'\] of 'a'"),
        ({"field": "a", "like": "x"}, r"asks \['like'\] of 'a'"),
        ({"field": "a", "eq": [1]}, r"filter\.eq is \[1\]; it is a string"),
        ({"field": "a", "contains": {}}, r"filter\.contains is {}"),
        ({"field": "a", "lt": None}, r"filter\.lt is null; a bound is a number or a string"),
        ({"field": "a", "lt": True}, r"filter\.lt is True; a bound"),
        ({"field": "a", "eq": float("nan")}, r"filter\.eq is nan; numbers are finite"),
        ({"field": "a", "gt": float("-inf")}, r"filter\.gt is -inf; numbers are finite"),
        ({"field": "a", "eq": 2**63}, r"filter\.eq has more than 64 bits"),
        ({"field": "a", "le": -(10**400)}, r"filter\.le has more than 64 bits"),
        ({"field": "a", "eq": "\ud800"}, r"filter\.eq is '\\ud800', which is not valid Unicode"),
        ({"field": "\udfff", "eq": 1}, r"filter\.field is .* not valid Unicode"),
        ({"and": {}}, r"filter\.and is {}; it joins a list"),
        ({"and": [], "or": []}, r"filter has the keys \['and', 'or'\]"),
        ({"not": []}, r"filter\.not is \[\]"),
        ({"and": [{"or": []}, {"not": {"field": "b"}}]}, r"filter\.and\[1\]\.not asks"),
        ({"or": [{"and": [3]}]}, r"filter\.or\[0\]\.and\[0\] is 3"),
        ({1: 2}, r"filter has the keys \['1'\]"),
    ],
)
def test_refusals_name_the_place(value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_filter(value)


def test_depth_and_length_are_limited() -> None:
    condition: Any = {"field": "a", "eq": 1}
    nested = condition
    for _ in range(MAX_DEPTH - 1):
        nested = {"not": nested}
    parse_filter(nested)
    with pytest.raises(UsageError, match=f"nested more than {MAX_DEPTH} deep"):
        parse_filter({"not": nested})
    parse_filter({"and": [condition] * (MAX_CONDITIONS - 1)})
    with pytest.raises(UsageError, match=f"more than {MAX_CONDITIONS} conditions"):
        parse_filter({"and": [condition] * MAX_CONDITIONS})


@pytest.mark.parametrize("value", [reduce(lambda inner, _: [inner], range(2000), 0), [10**5000]])
def test_a_value_that_cannot_be_shown_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="too large to show"):
        parse_filter({"field": "a", "eq": value})
