"""Filters in the store against what they mean, payload by payload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.index.filters import And, Contains, Equals, Not, Or, Range, matches
from proxyhash.index.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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


@settings(max_examples=40)
@given(st.lists(PAYLOADS, min_size=1, max_size=16), st.lists(FILTERS, min_size=1, max_size=12))
def test_filters_mean_what_matches_says(tmp_path_factory, payloads, filters) -> None:
    folder = tmp_path_factory.mktemp("filters") / "index"
    zeros = np.zeros((len(payloads), 1), np.uint8)
    with Store.create(folder, bits=8, modalities=("text",)) as store:
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
    monkeypatch.setattr("proxyhash.index.store.columns.BATCH", 3)
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
        for _ in range(10):
            found = store.count_values("labels")
            if found is not None:
                return sorted([pair for pair in found if pair[1]], key=repr)
        raise AssertionError("the field was not read within ten calls")

    ids = [f"i{number}" for number in range(7)]
    with Store.create(tmp_path / "index", bits=8, modalities=("image", "text")) as store:
        assert counts(store) == []
        store.add(ids[:4], {"text": np.zeros((4, 1), np.uint8)}, payloads=payloads[:4])
        store.add(ids[4:], {"image": np.zeros((3, 1), np.uint8)}, payloads=payloads[4:])
        assert store.count_values("labels") is None
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
