"""Words and pairs of words against slow counts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.encoders.words import words_of
from proxyhash.labeling.terms import find_phrases, find_terms, stop_words

TEXTS = [
    *["a hot dog on the table"] * 6,
    *["a dog near the hot stove"] * 2,
    *["a cat 2024 sleeping"] * 6,
    *["the cat and the mouse"] * 5,
    *["blue"] * 4,
    *["common red thing"] * 20,
    None,
]


def test_terms_are_those_of_slow_counts() -> None:
    terms = find_terms(TEXTS, np.arange(len(TEXTS)))
    split = [words_of(text) if text else [] for text in TEXTS]
    count = sum(bool(words) for words in split)
    singles = {word: sum(word in each for each in split) for words in split for word in words}
    expected = {
        word: number
        for word, number in singles.items()
        if 5 <= number <= count / 4 and word not in stop_words() and not word.isdigit()
    }
    pairs = {pair for words in split for pair in itertools.pairwise(words)}
    for first, second in pairs:
        together = sum((first, second) in itertools.pairwise(each) for each in split)
        likely = together * count / (singles[first] * singles[second])
        content = not ({first, second} & stop_words() or first.isdigit() or second.isdigit())
        if together >= 5 and content and math.log2(likely) >= 2:
            expected[f"{first} {second}"] = together
    assert dict(zip(terms.names, terms.counts.tolist(), strict=True)) == expected
    assert "hot dog" in expected
    assert "blue" not in expected  # four items
    assert "common" not in expected  # nearly half of them
    assert list(terms.counts) == sorted(terms.counts, reverse=True)
    for column, name in enumerate(terms.names):
        held = terms.held[:, [column]].toarray().ravel() > 0
        own = [f" {name} " in f" {' '.join(words)} " for words in split]
        assert held.tolist() == own


def test_only_the_given_items_decide() -> None:
    terms = find_terms(TEXTS, np.arange(8, len(TEXTS)))
    assert "dog" not in terms.names
    assert terms.held.shape[0] == len(TEXTS)


PHRASES = ["dog", "ice cream", "box", "bus stop", "glass", "o"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("two dogs run", ["dog"]),
        ("a doghouse", []),
        ("A DOG.", ["dog"]),
        ("the ice creams van", ["ice cream"]),
        ("cream on ice", []),
        ("boxes, glasses", ["box", "glass"]),
        ("bus stops", ["bus stop"]),
        ("bus", []),
        (None, []),
    ],
)
def test_phrases_are_found_in_order_and_in_their_plural(text: str | None, found: list[str]) -> None:
    held = find_phrases(["nothing", text], PHRASES)
    assert [phrase for phrase, has in zip(PHRASES, held[1], strict=True) if has] == found
    assert not held[0].any()


@given(st.lists(st.lists(st.sampled_from(["ab", "abs", "cd", "cdes", "ef"]), max_size=6)))
def test_phrases_are_those_of_a_slow_search(rows: list[list[str]]) -> None:
    phrases = ["ab", "cd ab", "ef ef", "abs"]

    def has(words: list[str], phrase: str) -> bool:
        wanted = phrase.split()
        return any(
            all(have in (w, f"{w}s", f"{w}es") for have, w in zip(words[s:], wanted, strict=False))
            for s in range(len(words) - len(wanted) + 1)
        )

    found = find_phrases([" ".join(words) for words in rows], phrases)
    assert found.tolist() == [[has(words, phrase) for phrase in phrases] for words in rows]
