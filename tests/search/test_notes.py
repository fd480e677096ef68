"""What is said about words that a model does not know, on every side."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.encoders import BagOfWords
from proxyhash.errors import UsageError, closest
from proxyhash.index import MemoryIndex, parse_filter_text
from proxyhash.search import Note
from proxyhash.search.notes import FilterReader, read_words

if TYPE_CHECKING:
    from proxyhash.search import RunSearcher

BAG = BagOfWords(["red", "green", "blue"])


@pytest.fixture
def words(searcher: RunSearcher) -> RunSearcher:
    """The run made by hand, its texts read by a bag of words."""
    searcher.model.encoders["text"] = BAG
    return searcher


def test_unknown_words_are_named_with_what_may_have_been_meant(words: RunSearcher) -> None:
    answer = words.search_text("a gren RED thing in the sea, blue", k=1)
    assert answer.words == ("red", "blue")
    assert answer.notes == (
        Note("unknown_word", "not known: gren - did you mean green?", "gren", ("green",)),
        Note("unknown_word", "not known: thing", "thing"),
        Note("unknown_word", "not known: sea", "sea"),
    )
    assert answer.remarks == [
        "searched for: red, blue; not known: gren - did you mean green?; not known: thing; "
        "not known: sea"
    ]
    assert answer.to_dict()["notes"][0]["suggestions"] == ["green"]


def test_a_text_of_known_words_alone_has_no_notes(words: RunSearcher) -> None:
    answer = words.search_text("the red", k=1)
    assert (answer.words, answer.notes, answer.remarks) == (("red",), (), [])
    assert words.search_id("b").words is None


def test_a_text_of_nothing_known_is_refused_with_suggestions(words: RunSearcher) -> None:
    with pytest.raises(UsageError, match="knows no word of 'bleu'") as caught:
        words.search_text("bleu")
    assert "did you mean blue?" in str(caught.value)
    assert [note.subject for note in caught.value.notes] == ["bleu"]  # type: ignore[attr-defined]


def test_an_encoder_that_reads_no_words_has_none(searcher: RunSearcher) -> None:
    answer = searcher.search_text("red sae")
    assert (answer.words, answer.notes) == (None, ())


def test_a_text_of_many_unknown_words_is_read_quickly() -> None:
    bag = BagOfWords([f"word{number:05}" for number in range(20_000)])
    text = " ".join(f"wort{number}" for number in range(50_000)) + " " + "x" * 1_000_000
    start = time.perf_counter()
    found = read_words(bag, text)
    assert found is not None
    assert len(found.notes) == 8
    assert time.perf_counter() - start < 20  # minutes, if each were compared with every word


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("snwo", ("snow",)),
        ("SNOW", ("snow",)),
        ("xylophone", ()),
        ("", ()),
        ("s" * 10_000, ()),
        ("dgo", ("dog",)),
    ],
)
def test_closest(word: str, expected: tuple[str, ...]) -> None:
    assert closest(word, ["dog", "snow", "cat", "beach"]) == expected


@pytest.fixture(scope="module")
def shop() -> FilterReader:
    payloads: list[dict[str, object]] = [
        {"price": 9.5, "year": "2019", "labels": ["dog", "snow"], "new": True},
        {"price": 3, "labels": ["dog"], "mixed": 1, "sizes": [38, 40]},
        {"price": None, "labels": [], "mixed": "one", "nothing": None},
    ]
    index = MemoryIndex(bits=8)
    index.add(["a", "b", "c"], np.zeros((3, 1), np.uint8), payloads=payloads)
    return FilterReader(index)


@pytest.mark.parametrize(
    ("condition", "kind", "message"),
    [
        ("prise < 9.5", "unknown_field", "no item has a field 'prise' - did you mean price?"),
        ("not zebra = 1", "unknown_field", "no item has a field 'zebra'"),
        ("price < '9.5'", "other_type",
         "'price' is a number everywhere, but '9.5' is a text; leave the quotes out"),
        ("price = '3'", "other_type",
         "'price' is a number everywhere, but '3' is a text; leave the quotes out"),
        ("price >= 1 and not year > 2000", "other_type",
         "'year' is a text everywhere, but 2000 is a number; put it in quotes"),
        ("year contains '2019'", "other_type",
         "'year' is a text everywhere, but `contains` asks lists; = compares the whole text, "
         "and parts of texts cannot be asked"),
        ("id = a", "unknown_field",
         "conditions ask keys of the manifest, and ids are none of them"),
        ("labels = dog", "other_type",
         "'labels' is a list everywhere, but 'dog' is a text; use `contains`"),
        ("new = 1", "other_type",
         "'new' is true or false everywhere, but 1 is a number"),
        ("nothing = 1", "other_type",
         "'nothing' is empty everywhere, but 1 is a number"),
        ("labels contains dgo", "unknown_label",
         "no item has 'dgo' in 'labels' - did you mean dog?"),
        ("price > 1 or sizes contains '38'", "unknown_label", "no item has '38' in 'sizes'"),
    ],
)  # fmt: skip
def test_a_filter_that_no_item_can_meet_is_said(
    shop: FilterReader, condition: str, kind: str, message: str
) -> None:
    (note,) = shop.read(parse_filter_text(condition))
    assert (note.kind, note.message) == (kind, message)


@pytest.mark.parametrize(
    "condition",
    ["price < 1e9", "year >= '2018'", "labels contains dog", "mixed = 1 or mixed = one",
     "price = null", "sizes contains 38", "new = true", "not price >= 9"],
)  # fmt: skip
def test_a_filter_that_some_item_could_meet_has_no_note(shop: FilterReader, condition: str) -> None:
    for _ in range(2):
        assert shop.read(parse_filter_text(condition)) == ()


def test_many_wrong_conditions_are_not_all_listed(shop: FilterReader) -> None:
    condition = " or ".join(f"zz{number} = 1" for number in range(30))
    assert len(shop.read(parse_filter_text(condition))) == 8
