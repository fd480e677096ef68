"""Filters as people type them, against the conditions they stand for."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.errors import UsageError
from proxyhash.index.filter_text import parse_filter_text
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
)
from tests.index.test_filters import filters

A, B, C = Equals("a", 1), Equals("b", 2), Equals("c", 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("labels contains dog", Contains("labels", "dog")),
        ('labels contains "dog"', Contains("labels", "dog")),
        ("labels CONTAINS 'the dog'", Contains("labels", "the dog")),
        ("color = red", Equals("color", "red")),
        ("color==red", Equals("color", "red")),
        ("color != red", Not(Equals("color", "red"))),
        ("price<10", Range("price", lt=10)),
        ("price <= 9.50", Range("price", le=9.5)),
        ("price > -1", Range("price", gt=-1)),
        ("price >= +1e3", Range("price", ge=1000.0)),
        ("price >= .5", Range("price", ge=0.5)),
        ("price >= 5.", Range("price", ge=5.0)),
        ("date >= 2024-05-01", Range("date", ge="2024-05-01")),
        ("size = 10kg", Equals("size", "10kg")),
        ("n = ٣", Equals("n", "٣")),  # a digit, but not one of a JSON number
        ('n = "3"', Equals("n", "3")),
        ("n = 9223372036854775807", Equals("n", 2**63 - 1)),
        ("sold = true", Equals("sold", True)),
        ("sold = False", Equals("sold", False)),
        ("color = null", Equals("color", None)),
        ('color = "null"', Equals("color", "null")),
        ("labels contains null", Contains("labels", None)),
        ('"unit price" < 3', Range("unit price", lt=3)),
        ("'not' = 'and'", Equals("not", "and")),
        (r'a = "say \"hi\" \\ bye"', Equals("a", r'say "hi" \ bye')),
        ('a = ""', Equals("a", "")),
        ("größe.max = weiß", Equals("größe.max", "weiß")),
        ("a=1 and b=2 and c=3", And((A, B, C))),
        ("a=1 or b=2 or c=3", Or((A, B, C))),
        ("a=1 or b=2 and c=3", Or((A, And((B, C))))),
        ("(a=1 or b=2) and c=3", And((Or((A, B)), C))),
        ("not a=1 and b=2", And((Not(A), B))),
        ("not (a=1 and b=2)", Not(And((A, B)))),
        ("not not a=1", Not(Not(A))),
        ("((a=1))", A),
        ("\n a\t=  1 \n", A),
        ("NOT a=1 OR b=2", Or((Not(A), B))),
        (
            'labels contains "dog" and not (price >= 9 or color = red)',
            And(
                (
                    Contains("labels", "dog"),
                    Not(Or((Range("price", ge=9), Equals("color", "red")))),
                )
            ),
        ),
        ('{"field": "a", "eq": 1}', A),
        (' {"not": {"field": "a", "eq": 1}}', Not(A)),
    ],
)
def test_reads(text: str, expected: Filter) -> None:
    assert parse_filter_text(text) == expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "found the end, expected a field's name, 'not' or '('"),
        ("labels dog", 8, "found 'dog', expected one of = == != < <= > >= contains"),
        ("labels", 7, "found the end, expected one of ="),
        ("labels contains", 16, "found the end, expected a value"),
        ("a = 1 b = 2", 7, "found 'b', expected 'and', 'or' or the end"),
        ("a = 1 and", 10, "found the end, expected a field's name"),
        ("a = 1 and or b = 2", 11, "found 'or', expected a field's name, 'not' or '(' (put the"),
        ("(a = 1", 7, "found the end, expected ')', 'and' or 'or'"),
        ("a = 1)", 6, "found ')', expected 'and', 'or' or the end"),
        ("a = (1)", 5, "found '(', expected a value"),
        ("a = and", 5, "found 'and', expected a value (put the word in quotes"),
        ("a < true", 5, "found 'true', expected a number or a text to compare with"),
        ("a >= null", 6, "found 'null', expected a number or a text"),
        ("a = 'dog", 5, "found a quote that is not closed, expected a text in two equal quotes"),
        ("a ! b", 3, "found '!', expected '!=' or 'not'"),
        ("a = 9223372036854775808", 5, "expected a smaller number"),
        ("a = -" + "9" * 5000, 5, "expected a smaller number"),
        ("a = 1e999", 5, "found '1e999', expected a smaller number"),
        ("a = \ud800", 5, "expected valid Unicode"),
        ('a = "\\', 5, "a quote that is not closed"),
        ("a b\x1b[31m", 3, r"found 'b\x1b[31m', expected"),
    ],
)
def test_refusals_point_at_the_place(text: str, column: int, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_filter_text(text)
    said, shown, mark = str(refused.value).split("\n")
    assert said.startswith(f"filter, column {column}: ")
    assert message in said
    assert str(refused.value).isascii()
    assert "\x1b" not in str(refused.value)
    assert len(shown) < 100
    assert mark.strip() == "^"
    if column <= len(text) and text[column - 1].isprintable():
        assert shown[mark.index("^")] == text[column - 1]


def test_a_long_text_is_shown_around_the_place() -> None:
    with pytest.raises(UsageError) as refused:
        parse_filter_text("a = 1 and " * 20 + "b b")
    _, shown, mark = str(refused.value).split("\n")
    assert shown[mark.index("^")] == "b"


def test_depth_and_length_are_limited() -> None:
    deep = MAX_DEPTH - 1
    parse_filter_text("not " * deep + "a=1")
    for opening, closing in (("not ", ""), ("(", ")"), ("not (", ")")):
        with pytest.raises(UsageError, match=f"no more than {MAX_DEPTH} levels"):
            parse_filter_text(opening * 10_000 + "a=1" + closing * 10_000)
    with pytest.raises(UsageError, match=f"nested more than {MAX_DEPTH} deep"):
        parse_filter_text("(b=1 or c=1 and " * deep + "a=1" + ")" * deep)
    parse_filter_text(" or ".join(["a=1"] * (MAX_CONDITIONS - 1)))
    for count in (MAX_CONDITIONS, 100_000):
        with pytest.raises(UsageError, match=f"more than {MAX_CONDITIONS} conditions"):
            parse_filter_text(" or ".join(["a=1"] * count))


@pytest.mark.parametrize("text", ["{", "{'a': 1}", '{"a": 1} x', '{"a":' * 100_000])
def test_json_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="the filter starts like JSON, but is not JSON"):
        parse_filter_text(text)


@given(filters)
def test_agrees_with_the_json_form(filter_: Filter) -> None:
    assert parse_filter_text(json.dumps(filter_to_json(filter_))) == filter_


@given(st.text(alphabet="ab ()'\"=<>!\\1.9-{}andortcis\n\ud800", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UsageError):
        parse_filter_text(text)
