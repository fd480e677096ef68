"""Keys: they come back as ids, compare as ids do, and hold nothing that Milvus stumbles over."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.index.milvus.keys import MAX_KEY_BYTES, from_key, quoted, to_key

SPECIAL = "".join(map(chr, range(0x21))) + "!\"#&'[\\]~\x7f\x80"
ids = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters(codec="utf-8")), max_size=20)


@given(ids, ids)
def test_keys_compare_as_ids_do(one: str, other: str) -> None:
    assert (to_key(one) < to_key(other)) == (one < other)
    assert (to_key(one).encode() < to_key(other).encode()) == (one < other)


@given(ids)
def test_keys_come_back_as_ids_and_are_plain(id_: str) -> None:
    key = to_key(id_)
    assert from_key(key) == id_
    assert not set(key) & set("\"'\\\n\t\0\x7f")
    assert quoted(key) == f'"{key}"'


@pytest.mark.parametrize("id_", ["img/01.jpg", "a-b_c.d:e", string.ascii_letters, "ünï🙂"])
def test_ordinary_ids_are_their_own_keys(id_: str) -> None:
    assert to_key(id_) == id_


@pytest.mark.parametrize("character", ["\x01", "'", "a", "é", "🙂"])
def test_the_longest_id_has_room(character: str) -> None:
    assert len(to_key(512 * character).encode()) <= MAX_KEY_BYTES
