"""Filters on their way to Milvus: what it lets through is a superset, and mostly no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxyhash.index.filters import And, Contains, Equals, Filter, Not, Or, Range, matches
from proxyhash.index.milvus.expressions import NOTHING, expression
from tests.index.backends import in_milvus
from tests.index.conftest import SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.index.milvus import MilvusIndex

WORDS = ["", "a", "b", "true", "5", "it's", 'a"b', "back\\slash", "ünï🙂", "two words", "line\n"]
NUMBERS = [0, 1, -1, 5, 5.0, 0.5, -0.5, 1e-7, 1e300, 2**53, 2**53 + 1, 2.0**53, 2**62 + 1]
FIELDS = ["x", "y", "two words", "ü", "a/b", "a~b", 'q"q', "", "x.y", "x[0]", "0", "payload"]
scalars = st.one_of(st.sampled_from(WORDS), st.sampled_from(NUMBERS), st.booleans(), st.none())
ordered = st.one_of(st.sampled_from(WORDS), st.sampled_from(NUMBERS))
fields = st.sampled_from(FIELDS)
conditions: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Equals, fields, scalars),
    st.builds(Contains, fields, scalars),
    st.builds(Range, fields, gt=ordered, le=st.none() | ordered),
    st.builds(Range, fields, ge=ordered, lt=st.none() | ordered),
    st.builds(Range, fields, lt=ordered),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    conditions,
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.builds(And, st.lists(parts, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


def payloads() -> list[dict[str, object]]:
    """Every word, number and other value under two fields, and a mixture under the rest."""
    values = [*WORDS, *NUMBERS, True, False, None, [], {}, [[1]], {"x": 5}]
    values += [[value, "b"] for value in (*WORDS, *NUMBERS, True, None)]
    rng = np.random.default_rng(0)
    mixed = [
        {name: values[int(rng.integers(len(values)))] for name in FIELDS if rng.random() < 0.6}
        for _ in range(100)
    ]
    return [{}, *({"x": value} for value in values), *({"y": value} for value in values), *mixed]


PAYLOADS = payloads()


@pytest.fixture(
    scope="module",
    params=["lite_uri", pytest.param("milvus_server", marks=SERVER)],
)
def index(request: pytest.FixtureRequest) -> Iterator[MilvusIndex]:
    """An index of all payloads, their places as ids."""
    place = request.getfixturevalue(request.param)
    backend = in_milvus(getattr(place, "uri", place))
    made = backend.create(bits=8, modalities=("code",))
    ids = [f"{place:04}" for place in range(len(PAYLOADS))]
    made.add(ids, np.zeros((len(ids), 1), np.uint8), payloads=PAYLOADS)
    yield made
    backend.remove()


def let_through(index: MilvusIndex, text: str) -> set[int]:
    (part,) = index._collections.values()
    rows = part._query(text or 'id >= ""', ["id"], limit=len(PAYLOADS))
    return {int(row["id"]) for row in rows}


def matching(condition: Filter) -> set[int]:
    return {place for place, payload in enumerate(PAYLOADS) if matches(condition, payload)}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=filters)
def test_nothing_that_matches_is_kept_back(index: MilvusIndex, condition: Filter) -> None:
    assert let_through(index, expression(condition)) >= matching(condition)


@pytest.mark.parametrize("value", [*WORDS, *NUMBERS, True, False, None])
def test_a_condition_that_is_sent_lets_through_nothing_else(index: MilvusIndex, value) -> None:
    sent = [Equals("x", value), Contains("y", value)]
    if value is not None and not isinstance(value, bool):
        sent += [Range("x", gt=value), Range("x", ge=value), Range("y", lt=value)]
    for condition in sent:
        if text := expression(condition):
            assert let_through(index, text) == matching(condition)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=filters)
def test_a_search_decides_as_matches_does(index: MilvusIndex, condition: Filter) -> None:
    query = np.zeros((1, 1), np.uint8)
    everything = sorted(matching(condition))
    for k in (1, 40, 1000):
        hits = index.search(query, k=k, filter=condition)[0]
        assert [int(hit.id) for hit in hits] == everything[:k]


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (Equals("x", "a"), 'payload["x"] == "a"'),
        (Equals("x", True), 'payload["x"] == true'),
        (Equals("x", None), ""),
        (Equals("x", "it's"), ""),
        (Equals("a/b", 1), ""),
        (Contains("x", 5), 'json_contains(payload["x"], 5.0)'),
        (Range("x", gt=1, le=2.5), '(payload["x"] > 1 and payload["x"] <= 2.5)'),
        (Range("x", gt=2**53), ""),
        (Not(Equals("x", 1)), ""),
        (And(()), ""),
        (Or(()), f"({NOTHING})"),
        (And((Equals("x", 1), Not(Equals("x", 2)))), '(payload["x"] == 1)'),
        (Or((Equals("x", 1), Equals("x", 2))), '(payload["x"] == 1 or payload["x"] == 2)'),
        (Or((Equals("x", 1), Not(Equals("x", 2)))), ""),
    ],
)
def test_what_is_sent(condition: Filter, text: str) -> None:
    assert expression(condition) == text
