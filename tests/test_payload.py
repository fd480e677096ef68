"""What can be stored, and that a manifest and an index agree on it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.data.item import ItemError, item_from_record
from proxyhash.errors import DataError
from proxyhash.index.checks import check_items
from proxyhash.payload import MAX_DEPTH, MAX_INTEGER, copy_json


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"uploader": "joe \ud83d"}, r"key 'uploader' holds 'joe \\ud83d', which is not valid"),
        ({"k\ud83d": 1}, r"a key holds 'k\\ud83d', which is not valid Unicode"),
        ({"phash": 2**64 - 1}, "key 'phash' holds an integer of more than 64 bits; use a float"),
        ({"low": -(2**63)}, "key 'low' holds an integer of more than 64 bits"),
        ({"exif": nested(40)}, "key 'exif' is nested more than 32 deep"),
        ({"a": {"b": [{"c\udfff": 1}]}}, "key 'a' holds"),
        ({"score": float("nan")}, "key 'score' holds nan, which is not JSON"),
        ({"when": object()}, "key 'when' holds <object"),
    ],
)
def test_a_row_that_no_index_would_store_is_named_with_its_key(
    extra: dict[str, object], says: str
) -> None:
    with pytest.raises(ItemError, match=says):
        item_from_record({"id": "a", "text": "x", **extra}, row=1)


def test_the_limits_themselves_are_taken() -> None:
    payload = {"n": MAX_INTEGER, "m": -MAX_INTEGER, "deep": nested(MAX_DEPTH - 1)}
    assert item_from_record({"id": "a", **payload}, row=1).payload == payload
    with pytest.raises(DataError, match="nested more than"):
        copy_json({"deep": nested(MAX_DEPTH)})


anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.characters(), max_size=6)
    | st.sampled_from(["\ud800", "a\0b", "x" * 600, 2**63 - 1, 2**63, -(2**63)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(anything, st.dictionaries(st.text(st.characters(), max_size=4), anything, max_size=4))
def test_what_a_manifest_takes_an_index_takes(id_: object, extra: dict[str, Any]) -> None:
    """Codes are valid here; everything else comes from the row."""
    try:
        item = item_from_record({**extra, "id": id_}, row=1)
    except ItemError:
        return
    codes = {"text": np.zeros((1, 4), np.uint8)}
    payload = {**item.payload, **item.sources, "labels": list(item.labels)}
    ids, _, stored = check_items([item.id], codes, [payload], bits=32, modalities=("text",))
    assert (ids, stored) == ([item.id], [payload])
    json.dumps(stored, allow_nan=False, ensure_ascii=False).encode("utf-8")
