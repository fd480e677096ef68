"""What is said about words that a model does not know, on every side."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from proxyhash.encoders import BagOfWords
from proxyhash.errors import UsageError, closest
from proxyhash.search import Note
from proxyhash.search.notes import read_words

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
    [("snwo", ("snow",)), ("SNOW", ("snow",)), ("xylophone", ()), ("", ()), ("s" * 10_000, ())],
)
def test_closest(word: str, expected: tuple[str, ...]) -> None:
    assert closest(word, ["dog", "snow", "cat", "beach"]) == expected
