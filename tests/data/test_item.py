"""What makes a record an item, and what the sentences say when it is none."""

from __future__ import annotations

import pytest

from proxyhash.data.item import ItemError, item_from_record


def test_every_key_finds_its_place() -> None:
    item = item_from_record(
        {
            "id": "a",
            "image": "images/a.jpg",
            "text": "a dog",
            "labels": ["dog", "beach", "dog"],
            "split": "train",
            "price": 3.5,
        },
        row=7,
    )
    assert (item.id, item.sources.get("image"), item.sources.get("text"), item.split, item.row) == (
        "a",
        "images/a.jpg",
        "a dog",
        "train",
        7,
    )
    assert item.labels == ("dog", "beach")
    assert item.payload == {"price": 3.5}


@pytest.mark.parametrize("blank", [None, "", "  \t"])
def test_blank_modalities_are_missing(blank: str | None) -> None:
    item = item_from_record({"id": 1, "image": blank, "text": blank, "split": blank}, row=1)
    assert (item.sources.get("image"), item.sources.get("text"), item.split, item.labels) == (
        None,
        None,
        None,
        (),
    )


def test_integer_ids_become_strings() -> None:
    assert item_from_record({"id": 0}, row=1).id == "0"


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({}, "the id is missing"),
        ({"id": ""}, "the id is missing"),
        ({"id": "   "}, "id has 3 characters"),
        ({"id": "x" * 513}, "id has 513 characters"),
        ({"id": True}, "id is True, which is not a string"),
        ({"id": 1.5}, "id is 1.5, which is not a string"),
        ({"id": "a\0b"}, "zero character"),
        ({"id": "a", "text": 3}, "text is 3, which is not a string"),
        ({"id": "a", "text": "\ud800"}, "not valid Unicode"),
        ({"id": "a", "image": "https://example.org/a.jpg"}, "download it"),
        ({"id": "a", "image": {"bytes": b"", "path": None}}, "save images as files"),
        (
            {"id": "a", "labels": {"dog": "1"}},
            "labels gives .dog. the probability .1.; a num",
        ),
        ({"id": "a", "labels": [3, 7]}, r"labels is \[3, 7\]; a list.* a file classes\.txt"),
        ({"id": "a", "labels": [0, 1, 0]}, "a 0 or 1 for each of 3 classes; put their names into"),
        ({"id": "a", "text": ["a dog", 3]}, "a text is 3, which is not a string"),
        ({"id": "a", "labels": ["dog", 3]}, "a label is 3, which is not a string"),
        ({"id": "a", "labels": ["dog", " "]}, "a label is blank"),
        ({"id": "a", "labels": 2}, "labels is 2; a list"),
        ({"id": "a", "split": 1}, "split is 1"),
    ],
)
def test_what_is_no_item_is_said(record: dict[str, object], says: str) -> None:
    with pytest.raises(ItemError, match=says):
        item_from_record(record, row=1)


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(ItemError) as caught:
        item_from_record({"id": "a", "labels": {"x" * 5000: 2}}, row=1)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "labels",
    [
        {"dog": 0.8, "cat": 0.5, "sea": 0.49, "sky": 0, "sun": None},
        '{"dog": 0.8, "cat": 0.5, "sea": 0.49}',
    ],
)
def test_labels_may_be_probabilities(labels: object) -> None:
    item = item_from_record({"id": "a", "labels": labels}, row=1)
    assert item.labels == ("dog", "cat")
    assert item.probabilities == {"dog": 0.8, "cat": 0.5, "sea": 0.49}


def test_certain_labels_have_no_probabilities() -> None:
    for labels in (["dog"], "dog", "{'dog', 'cat'}", None):
        assert item_from_record({"id": "a", "labels": labels}, row=1).probabilities == {}


@pytest.mark.parametrize("value", [1.01, -0.1, float("nan"), True, "0.5", [0.5], 10**400])
def test_what_is_no_probability_is_said(value: object) -> None:
    with pytest.raises(
        ItemError, match=r"labels gives 'dog' the probability .* 0 to 1 is expected"
    ):
        item_from_record({"id": "a", "labels": {"dog": value}}, row=1)
