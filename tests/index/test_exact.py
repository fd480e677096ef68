"""The exact index against sorting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.errors import DataError, UsageError
from proxyhash.index import ExactIndex, Hit, Index


def codes_of(*values: int) -> np.ndarray:
    return np.array([[value] for value in values], np.uint8)


def by_hand(ids: list[str], codes: np.ndarray, query: np.ndarray, k: int) -> list[tuple[int, str]]:
    """Every pair (distance, id), counted bit by bit, sorted, cut."""
    pairs = [
        (sum((int(a) ^ int(b)).bit_count() for a, b in zip(code, query, strict=True)), id_)
        for id_, code in zip(ids, codes, strict=True)
    ]
    return sorted(pairs)[:k]


def test_ties_are_ordered_by_id_whatever_the_order_of_adding() -> None:
    index = ExactIndex(bits=8)
    index.add(["c", "a"], codes_of(0, 0))
    index.add(["b"], codes_of(0))
    assert [hit.id for hit in index.search(codes_of(1), k=3)[0]] == ["a", "b", "c"]


def test_hits_carry_distance_and_payload() -> None:
    index = ExactIndex(bits=8)
    index.add(["far", "near"], codes_of(0b111, 0b1), payloads=[{"text": "f"}, {"text": "n"}])
    assert index.search(codes_of(0), k=2) == [
        [Hit("near", 1, {"text": "n"}), Hit("far", 3, {"text": "f"})]
    ]


def test_gives_at_most_as_many_hits_as_there_are_items() -> None:
    index = ExactIndex(bits=8)
    assert index.search(codes_of(0, 1), k=4) == [[], []]
    index.add(["a"], codes_of(0))
    assert [len(hits) for hits in index.search(codes_of(0, 1), k=4)] == [1, 1]


@given(st.data())
def test_agrees_with_sorting_by_hand(data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.text(max_size=3), min_size=1, max_size=20, unique=True))
    byte = st.integers(0, 255)
    rows = st.tuples(byte, byte)
    stored = np.array(data.draw(st.lists(rows, min_size=len(ids), max_size=len(ids))), np.uint8)
    query = np.array(data.draw(st.lists(rows, min_size=1, max_size=3)), np.uint8)
    k = data.draw(st.integers(1, 25))
    index = ExactIndex(bits=16)
    half = len(ids) // 2
    index.add(ids[:half], stored[:half])
    index.add(ids[half:], stored[half:])
    found = index.search(query, k=k)
    for hits, code in zip(found, query, strict=True):
        assert [(hit.distance, hit.id) for hit in hits] == by_hand(ids, stored, code, k)


def test_behaves_like_a_collection() -> None:
    index: Index = ExactIndex(bits=12, model="abc")
    index.add(["x"], np.array([[1, 0xF0]], np.uint8))
    assert len(index) == 1
    assert "x" in index
    assert "y" not in index
    assert index.get("x").tolist() == [1, 0xF0]
    assert (index.bits, index.model) == (12, "abc")
    with pytest.raises(UsageError, match="no item 'y'"):
        index.get("y")


@pytest.mark.parametrize(
    ("ids", "codes", "payloads", "message"),
    [
        (["new", "a"], codes_of(1, 2), None, "id 'a' is already in the index"),
        (["new", "new"], codes_of(1, 2), None, "id 'new' is already in the index"),
        (["new"], codes_of(1, 2), None, "1 ids, 2 codes and 1 payloads"),
        (["new"], codes_of(1), [], "1 ids, 1 codes and 0 payloads"),
        (["new"], np.zeros((1, 2), np.uint8), None, "2 bytes wide"),
        (["new"], np.zeros((1, 1), np.int64), None, "uint8"),
    ],
)
def test_a_refused_batch_changes_nothing(ids, codes, payloads, message) -> None:
    index = ExactIndex(bits=8)
    index.add(["a"], codes_of(7))
    with pytest.raises(DataError, match=message):
        index.add(ids, codes, payloads=payloads)
    assert len(index) == 1
    assert "new" not in index


def test_refuses_wrong_queries() -> None:
    index = ExactIndex(bits=8)
    with pytest.raises(UsageError, match="k is 0"):
        index.search(codes_of(0), k=0)
    with pytest.raises(DataError, match="query codes are 2 bytes wide"):
        index.search(np.zeros((1, 2), np.uint8), k=1)
