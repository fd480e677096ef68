"""Words of texts and questions, and the fusion of ranks."""

from __future__ import annotations

import math
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.errors import UsageError
from proxyhash.index.words import (
    MAX_PHRASE,
    MAX_TERMS,
    Term,
    WordQuery,
    check_weight,
    fuse_ranks,
    inverse_frequency,
    rarity_of,
    split_words,
    words_of_payload,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Two dogs, running!", ["two", "dogs", "running"]),
        ("Café CRÈME brûlée", ["cafe", "creme", "brulee"]),
        ("cafe\u0301", ["cafe"]),
        ("AB-1234/x_7", ["ab", "1234", "x", "7"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("\uff21\uff22\uff13", ["ab3"]),
        ("красная РУБАШКА", ["красная", "рубашка"]),
        ("हिन्दी", ["हिन्दी"]),
        ("红衬衫 shirt", ["红", "衬", "衫", "shirt"]),
        ("한국어", ["한국어"]),
        ("สวน", ["ส", "ว", "น"]),
        ("soft\u00adware", ["software"]),
        ("a\0b\n\"c\" 'd' (e) NEAR* -f :g", ["a", "b", "c", "d", "e", "near", "f", "g"]),
        ("x" * 100, ["x" * 64]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_every_latin_letter_with_a_diacritic_folds_to_its_base() -> None:
    folded = 0
    for code in range(0xC0, 0x250):
        letter = chr(code)
        base = unicodedata.normalize("NFD", letter)[0]
        if letter.isalpha() and base != letter:
            assert split_words(letter) == [base.casefold()]
            folded += 1
    assert folded > 200


@given(st.text(st.characters(max_codepoint=sys.maxunicode), max_size=60))
def test_words_are_letters_and_digits_whatever_the_text(text: str) -> None:
    for word in split_words(text):
        assert word
        assert all(unicodedata.category(letter)[0] in "LNM" for letter in word)
        assert split_words(word) == [word]  # so that what is shown can be asked for
        word.encode()


@given(st.text(st.sampled_from([*list('ab1 "*-:()^+“”\n,'), "é", "红", "�"]), max_size=80))
def test_a_question_is_terms_whatever_it_is(text: str) -> None:
    terms = WordQuery.of(text).terms
    assert len(terms) <= MAX_TERMS
    assert len(set(terms)) == len(terms)
    every = set(split_words(text))
    for term in terms:
        assert 1 <= len(term.words) <= MAX_PHRASE
        assert {*term.words} <= every
        assert term.match == f'"{" ".join(term.words)}"{"*" * term.prefix}'
    if '"' not in text and "“" not in text and "”" not in text:
        assert every == {word for term in terms for word in term.words} or len(terms) == MAX_TERMS


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("two dogs two", [Term(("two",)), Term(("dogs",))]),
        ('"red shirt"', [Term(("red", "shirt"), required=True)]),
        ("“red shirt”,", [Term(("red", "shirt"), required=True)]),
        ('"red shi*"', [Term(("red", "shi"), prefix=True, required=True)]),
        ("sho*", [Term(("sho",), prefix=True)]),
        ("s*", [Term(("s",))]),  # half of all words begin so
        ("* ** -*", []),
        ("AND OR NOT NEAR", [Term((one,)) for one in ("and", "or", "not", "near")]),
        ('12" x 14"', [Term((one,)) for one in ("12", "x", "14")]),
        ('an "open', [Term(("an",)), Term(("open",))]),
        ('""', []),
        ("AB-12", [Term(("ab", "12")), Term(("ab",)), Term(("12",))]),
        ("红衬衫", [Term(("红", "衬", "衫")), Term(("红", "衬")), Term(("衬", "衫"))]),
    ],
)
def test_terms_of_a_question(text: str, terms: list[Term]) -> None:
    assert list(WordQuery.of(text).terms) == terms


def test_questions_are_bounded() -> None:
    assert len(WordQuery.of(" ".join(f"w{number}" for number in range(1000))).terms) == MAX_TERMS
    (phrase,) = WordQuery.of('"' + "w " * 100 + '"').terms
    assert len(phrase.words) == MAX_PHRASE
    assert len(WordQuery.of("x " * 10**6 + '"' * 10**5).terms) == 1


def test_words_of_a_payload() -> None:
    payload = {
        "text": "a dog",
        "image": "dogs/1.jpg",
        "labels": ["big dog", "snow"],
        "price": 9.5,
        "stock": 3,
        "sold": True,
        "more": {"brand": "Acme", "no": None},
    }
    words = ["a", "dog", "·", "big", "dog", "·", "snow", "·", "9", "5", "·", "3", "·", "acme"]
    assert words_of_payload(payload, None) == words
    assert words_of_payload(payload, ["labels", "gone"]) == ["big", "dog", "·", "snow"]
    assert words_of_payload(payload, ["image"]) == ["dogs", "1", "jpg"]
    assert len(words_of_payload({"text": "x " * 50_000}, None)) == 10_000


def slow_fusion(
    nearest: list[int], scores: dict[int, float], rarity: dict[int, float], weight: float
) -> list[tuple[int, float]]:
    """Return rows and fused scores from the formula."""
    fused = {}
    for row in {*nearest, *scores}:
        total = 0.0
        if row in nearest:
            total += (1 - weight) / (60 + 1 + nearest.index(row))
        if row in scores:
            total += (
                weight
                * rarity[row]
                / (60 + 1 + sum(other > scores[row] for other in scores.values()))
            )
        fused[row] = total
    return sorted(fused.items())


@given(
    st.lists(st.integers(0, 40), unique=True, max_size=15),
    st.dictionaries(st.integers(0, 40), st.sampled_from([0.5, 1.0, 2.5]), max_size=15),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_fusion_is_the_formula(nearest: list[int], scores: dict[int, float], weight: float) -> None:
    rarity = {row: (row % 7) / 6 for row in scores}
    rows, fused = fuse_ranks(
        np.array(nearest, np.int64),
        np.array(list(scores), np.int64),
        np.array(list(scores.values())),
        np.array(list(rarity.values())),
        weight=weight,
    )
    wanted = slow_fusion(nearest, scores, rarity, weight)
    assert rows.tolist() == [row for row, _ in wanted]
    assert fused == pytest.approx([score for _, score in wanted], abs=1e-15)


def test_rare_words_say_more() -> None:
    values = [inverse_frequency(1000, having) for having in (0, 1, 10, 500, 1000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0
    assert values[2] == pytest.approx(math.log(1 + 990.5 / 10.5))
    rarities = [rarity_of(1000, having) for having in (0, 1, 10, 500, 1000)]
    assert rarities == sorted(rarities, reverse=True)
    assert (rarities[1], rarities[-1], rarity_of(1, 1)) == (1, 0, 1)
    assert rarities[2] == pytest.approx((2 / 3) ** 1.5)


@pytest.mark.parametrize("weight", [0, 1, 0.5, np.float32(0.5), np.float64(1), np.int64(0)])
def test_weights_are_numbers_of_any_kind(weight: float) -> None:
    checked = check_weight(weight)
    assert (type(checked), checked) == (float, float(weight))


@pytest.mark.parametrize("weight", [-0.1, 1.1, "0.5", True, np.True_, np.float32(2), math.nan])
def test_weights_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(UsageError, match=r"words_weight is .*; it must be from 0 to 1"):
        check_weight(weight)
