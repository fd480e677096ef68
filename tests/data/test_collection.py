"""The columns of a collection, and its fingerprint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.data import Collection, Item
from proxyhash.data.collection import hash_strings
from proxyhash.errors import UsageError
from tests.data.builders import collection_of

BOTH = {"image": "a.jpg", "text": "words"}
NAMES = st.lists(st.sampled_from(["ant", "bee", "cow", "dog"]), unique=True)


@given(st.lists(NAMES, min_size=1, max_size=12))
def test_labels_match_a_slow_loop(label_lists: list[list[str]]) -> None:
    collection = collection_of(len(label_lists), labels=label_lists)
    assert list(collection.classes) == sorted({name for names in label_lists for name in names})
    for row, names in enumerate(label_lists):
        for column, name in enumerate(collection.classes):
            assert collection.labels[row, column] == (name in names)


def test_columns() -> None:
    items = [Item("a", {"image": "x/a.jpg"}, ()), Item("b", {"text": "words"}, ("dog",))]
    collection = Collection.of(Path("set/items.jsonl"), items)
    assert collection.ids == ("a", "b")
    assert collection.positions == {"a": 0, "b": 1}
    assert collection.sources("text") == [None, "words"]
    assert collection.sources("image") == [Path("set/x/a.jpg"), None]
    assert collection.has("image").tolist() == [True, False]
    assert collection.has("text").tolist() == [False, True]
    assert collection.modalities == ("image", "text")
    assert len(collection) == 2
    assert collection.labels.dtype == np.bool_


def test_columns_are_computed_once_and_cannot_be_written() -> None:
    collection = collection_of(3)
    assert collection.labels is collection.labels
    assert collection.has("text") is collection.has("text")
    for column in (collection.labels[0], collection.has("image")):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = True


def test_an_unknown_modality_is_corrected() -> None:
    with pytest.raises(UsageError, match=r"modality is 'images'; .* \(did you mean 'image'\?\)"):
        collection_of(1).sources("images")


def test_the_fingerprint_sees_every_field_that_matters() -> None:
    item = Item("a", BOTH, ("dog", "cat"), payload={"x": 1}, row=3)
    path = Path("set/items.jsonl")
    fingerprint = Collection.of(path, [item]).fingerprint
    changes = [
        {"id": "b"},
        {"sources": {"text": "words"}},
        {"sources": BOTH | {"text": "word"}},
        {"sources": BOTH | {"sound": "a.wav"}},
        {"labels": ("dog",)},
    ]
    others = [Collection.of(path, [replace(item, **change)]).fingerprint for change in changes]
    assert len({fingerprint, *others}) == 6
    same = [{"payload": {}}, {"row": 9}, {"labels": ("cat", "dog")}, {"split": "train"}]
    for change in same:
        moved = Collection.of(Path("elsewhere/t.csv"), [replace(item, **change)])
        assert moved.fingerprint == fingerprint


def test_the_fingerprint_of_images_and_texts_is_that_of_earlier_versions() -> None:
    items = [Item("a", BOTH, ("dog", "cat")), Item("é", {"text": "words"}, ())]
    records = ['["a", "a.jpg", "words", ["cat", "dog"]]', '["\\u00e9", null, "words", []]']
    found = Collection.of(Path("items.jsonl"), items).fingerprint
    assert found == hash_strings(records)


@given(st.lists(st.text()), st.lists(st.text()))
def test_hashes_differ_where_lists_do(first: list[str], second: list[str]) -> None:
    assert (hash_strings(first) == hash_strings(second)) == (first == second)


def test_targets_are_probabilities_where_items_have_them() -> None:
    items = [
        Item("a", BOTH, ("dog",), probabilities={"dog": 0.75, "cat": 0.25, "owl": 0.125}),
        Item("b", BOTH, ("cat", "dog")),
        Item("c", BOTH, ()),
    ]
    collection = Collection.of(Path("items.jsonl"), items)
    assert collection.classes == ("cat", "dog")  # nothing is an owl with a half or more
    assert collection.labels.tolist() == [[False, True], [True, True], [False, False]]
    assert collection.targets.dtype == np.float32
    assert collection.targets.tolist() == [[0.25, 0.75], [1, 1], [0, 0]]
    assert collection.estimated == 1
    certain = Collection.of(Path("items.jsonl"), [replace(items[0], probabilities={}), items[1]])
    assert certain.targets is certain.labels
    assert certain.estimated == 0


def test_the_fingerprint_sees_probabilities() -> None:
    path, item = Path("items.jsonl"), Item("a", BOTH, ("dog",))
    found = [
        Collection.of(path, [replace(item, probabilities=each)]).fingerprint
        for each in ({}, {"dog": 0.75}, {"dog": 0.5}, {"dog": 0.75, "cat": 0.1})
    ]
    assert len(set(found)) == 4
    other = Collection.of(path, [replace(item, probabilities={"cat": 0.1, "dog": 0.75})])
    assert other.fingerprint == found[3]
