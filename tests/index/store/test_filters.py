"""Filters in the store against what they mean, payload by payload."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.errors import StoppedError, UsageError
from proxyhash.index.filters import (
    And,
    Contains,
    Equals,
    Not,
    Or,
    Range,
    filter_to_json,
    matches,
    parse_filter,
)
from proxyhash.index.store import Store
from proxyhash.index.store.column_cache import _Reading
from proxyhash.stopping import Stop, stoppable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from proxyhash.index.filters import Filter

FIELDS = st.sampled_from(["a", 'quote " and .', "$.b[0]"])
EDGES = st.sampled_from(
    [
        0,
        1,
        1.0,
        True,
        False,
        -0.0,
        "1",
        "true",
        "",
        2**53,
        2**53 + 1,
        float(2**53),
        2**63 - 1,
        1e308,
    ]
)
STRINGS = st.text(st.sampled_from("aé\0\"'\U0001f600"), max_size=2)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 2.5, -1e-300])
SCALARS = st.none() | EDGES | STRINGS | NUMBERS
VALUES = SCALARS | st.lists(SCALARS | st.lists(SCALARS, max_size=1), max_size=3)
PAYLOADS = st.dictionaries(FIELDS, VALUES | st.dictionaries(STRINGS, SCALARS, max_size=1))
BOUNDS = st.one_of(STRINGS, NUMBERS, EDGES.filter(lambda value: not isinstance(value, bool)))
RANGES = st.builds(
    lambda field, bounds: Range(field, **bounds),
    FIELDS,
    st.dictionaries(st.sampled_from(["gt", "ge", "lt", "le"]), BOUNDS, min_size=1),
)
CONDITIONS = st.builds(Equals, FIELDS, SCALARS) | st.builds(Contains, FIELDS, SCALARS) | RANGES
FILTERS = st.recursive(
    CONDITIONS,
    lambda parts: (
        st.builds(And, st.lists(parts, max_size=3).map(tuple))
        | st.builds(Or, st.lists(parts, max_size=3).map(tuple))
        | st.builds(Not, parts)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("step", [2, 10_000])
@settings(max_examples=25)
@given(st.lists(PAYLOADS, min_size=1, max_size=16), st.lists(FILTERS, min_size=1, max_size=12))
def test_filters_mean_what_matches_says(step, tmp_path_factory, payloads, filters) -> None:
    folder = tmp_path_factory.mktemp("filters") / "index"
    zeros = np.zeros((len(payloads), 1), np.uint8)
    with (
        patch("proxyhash.index.store.columns.STEP", step),
        Store.create(folder, bits=8, modalities=("text",)) as store,
    ):
        stored = {}
        half = len(payloads) // 2
        for start, stop in ((0, half), (half, len(payloads))):
            ids = [f"{number:02d}" for number in range(start, stop)]
            store.add(ids, zeros[start:stop], payloads=payloads[start:stop])
            stored.update(zip(ids, payloads[start:stop], strict=True))
            for one in filters:
                found = store.search(zeros[:1], radius=8, filter=one)[0]
                expected = [id_ for id_, payload in stored.items() if matches(one, payload)]
                assert [hit.id for hit in found] == expected


def test_replaced_payloads_are_not_found(tmp_path) -> None:
    query = np.zeros((1, 1), np.uint8)
    with Store.create(tmp_path / "index", bits=8, modalities=("text",)) as store:
        store.add(["a", "b"], np.zeros((2, 1), np.uint8), payloads=[{"n": 1}, {"n": 2}])
        assert [hit.id for hit in store.search(query, k=9, filter=Equals("n", 1))[0]] == ["a"]
        store.upsert(["a", "b"], np.zeros((2, 1), np.uint8), payloads=[{"n": 2}, {"n": 1}])
        assert [hit.id for hit in store.search(query, k=9, filter=Equals("n", 1))[0]] == ["b"]
        store.delete(["b"])
        assert store.search(query, k=9, filter=Equals("n", 1)) == [[]]


def test_members_of_lists_are_counted_as_items_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyhash.index.store.columns.STEP", 3)
    payloads: list[dict[str, object]] = [
        {"labels": ["a", "b", "a"]},
        {"labels": "a"},
        {},
        {"labels": ["b", 1, True, 1.0]},
        {"labels": []},
        {"labels": ["a", ["b"], None]},
        {"labels": ["b"]},
    ]

    def counts(store: Store) -> list[tuple[object, int]]:
        return sorted([pair for pair in store.count_values("labels") if pair[1]], key=repr)

    ids = [f"i{number}" for number in range(7)]
    with Store.create(tmp_path / "index", bits=8, modalities=("image", "text")) as store:
        assert counts(store) == []
        store.add(ids[:4], {"text": np.zeros((4, 1), np.uint8)}, payloads=payloads[:4])
        store.add(ids[4:], {"image": np.zeros((3, 1), np.uint8)}, payloads=payloads[4:])
        assert counts(store) == sorted(
            [("a", 2), ("b", 3), (1, 1), (True, 1), (1.0, 1), (None, 1)], key=repr
        )
        before = store.changes
        store.delete(["i0"])
        store.upsert(["i6"], {"text": np.zeros((1, 1), np.uint8)}, payloads=[{"labels": ["c"]}])
        assert store.changes != before
        assert counts(store) == sorted(
            [("a", 1), ("b", 1), ("c", 1), (1, 1), (True, 1), (1.0, 1), (None, 1)], key=repr
        )
        before = store.changes
        store.compact()
        assert store.changes != before
        assert ("b", 1) in counts(store)


ROWS = 60
QUERY = np.zeros((1, 1), np.uint8)


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Store]:
    """Sixty items with eight fields, of which a step reads ten rows."""
    with (
        patch("proxyhash.index.store.columns.STEP", 10),
        Store.create(tmp_path / "wide", bits=8, modalities=("text",), engine="scan") as store,
    ):
        ids = [f"{number:02d}" for number in range(ROWS)]
        payloads = [
            {f"f{field}": f"{number}-{field}" for field in range(8)} for number in range(ROWS)
        ]
        store.add(ids, np.zeros((ROWS, 1), np.uint8), payloads=payloads)
        yield store


def found(store: Store, condition: Filter) -> list[str]:
    return [hit.id for hit in store.search(QUERY, k=ROWS, filter=condition)[0]]


def test_others_search_and_write_while_a_column_is_read(wide: Store) -> None:
    reading, go_on = threading.Event(), threading.Event()
    original = _Reading.fetch

    def slow(self: _Reading, database: sqlite3.Connection) -> object:
        reading.set()
        assert go_on.wait(20)
        return original(self, database)

    answers: list[list[str]] = []
    with patch.object(_Reading, "fetch", slow):
        filtered = threading.Thread(target=lambda: answers.append(found(wide, Equals("f1", "7-1"))))
        filtered.start()
        assert reading.wait(20)
        assert len(wide.search(QUERY, k=ROWS)[0]) == ROWS
        wide.delete(["07"])
        wide.upsert(["08"], QUERY, payloads=[{"f1": "7-1"}])
        wide.compact()
        go_on.set()
        filtered.join(20)
    assert answers == [["08"]]


def test_a_stopped_search_ends_at_once_and_harms_nothing(wide: Store) -> None:
    stop, steps = Stop(), []
    original = _Reading.fetch

    def counted(self: _Reading, database: sqlite3.Connection) -> object:
        steps.append(self.first)
        if len(steps) == 2:
            stop.stop()
        return original(self, database)

    with patch.object(_Reading, "fetch", counted), stoppable(stop), pytest.raises(StoppedError):
        found(wide, Equals("f1", "7-1"))
    assert steps == [0, 10]
    assert found(wide, Equals("f1", "7-1")) == ["07"]


def test_fields_that_no_item_has_are_not_read(wide: Store) -> None:
    unknown = Or(tuple(Equals(f"nope{number}", 1) for number in range(32)))
    for condition in (unknown, Not(unknown)):
        assert len(found(wide, condition)) == (0 if condition is unknown else ROWS)
    with wide._access.reading() as generation:
        assert generation.columns._columns == {}
    wide.add(["60"], QUERY, payloads=[{"nope7": 1}])
    assert found(wide, unknown) == ["60"]


def test_a_filter_asks_for_a_bounded_number_of_fields(wide: Store) -> None:
    many = Or(tuple(Equals(f"f{number}", None) for number in range(33)))
    for call in (lambda: found(wide, many), lambda: parse_filter(filter_to_json(many))):
        with pytest.raises(UsageError, match="33 different fields; it may ask for up to 32"):
            call()


def test_columns_are_kept_within_a_budget(wide: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(wide, Equals("f0", "7-0")) == ["07"]
    with wide._access.reading() as generation:
        one = generation.columns._columns["f0"].bytes
    monkeypatch.setattr("proxyhash.index.store.column_cache.BUDGET", int(2.5 * one))
    monkeypatch.setattr("proxyhash.index.store.column_cache._ROW_BYTES", 0)
    every = And(tuple(Not(Equals(f"f{field}", f"9-{field}")) for field in range(8)))
    assert "09" not in found(wide, every)
    for field in (1, 2, 0, 3, 0):
        assert found(wide, Range(f"f{field}", ge="8", lt="9")) == ["08"]
    with wide._access.reading() as generation:
        assert list(generation.columns._columns) == ["f3", "f0"]
        assert not generation.columns._wanted
