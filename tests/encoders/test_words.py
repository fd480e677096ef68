# ruff: noqa: RUF001 -- letters of other scripts are what this is about
"""Words in any script; the expected ones are written out by hand."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from proxyhash.encoders import BagOfWords
from proxyhash.encoders.words import words_of


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog's 2nd life_time, a!", ["dog", "2nd", "life_time"]),
        ("", []),
        ("कुत्ता और लड़का, लड़की", ["कुत्ता", "और", "लड़का", "लड़की"]),  # Hindi: vowel signs and virama
        ("প্রজাপতি উড়ে", ["প্রজাপতি", "উড়ে"]),  # Bengali
        ("un chién bleu", ["un", "chién", "bleu"]),
        (nfd("un chién bleu"), ["un", "chién", "bleu"]),
        ("Việt Nam", ["việt", "nam"]),
        (nfd("Việt Nam"), ["việt", "nam"]),
        ("шёл ёж", ["шёл", "ёж"]),
        ("كَلْب صغير", ["كَلْب", "صغير"]),  # Arabic with its vowels
        ("שָׁלוֹם", [unicodedata.normalize("NFKC", "שָׁלוֹם")]),  # Hebrew with points
        ("می\u200cخواهم", ["میخواهم"]),  # Persian, joined by a zero-width non-joiner
        ("so\u00adft hy\u200bphen", ["soft", "hyphen"]),
        ("ｄｏｇ ﬁsh", ["dog", "fish"]),  # full width, a ligature
        ("개가 개", ["개가", "개"]),  # one syllable is a word
        (nfd("강아지"), ["강아지"]),
        ("犬", ["犬"]),
        ("雪の犬!", ["雪", "の", "犬", "雪の", "の犬"]),
        ("ｶﾞ", ["ガ"]),
        ("hotdog犬走る2", ["hotdog", "犬", "走", "る", "犬走", "走る"]),
        ("ที่นี่", ["ที่", "นี่", "ที่นี่"]),  # Thai: letters keep their marks
    ],
)
def test_words_by_hand(text: str, words: list[str]) -> None:
    expected = [unicodedata.normalize("NFKC", word) for word in words]
    assert sorted(words_of(text)) == sorted(expected)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_cut_as_scikit_learn_cuts_it(text: str) -> None:
    assert words_of(text) == CountVectorizer().build_analyzer()(text)


@given(st.text())
def test_the_normal_form_of_a_text_does_not_matter(text: str) -> None:
    words = words_of(text)
    for form in ("NFC", "NFD"):
        assert words_of(unicodedata.normalize(form, text)) == words
    assert all(unicodedata.is_normalized("NFC", word) for word in words)


@given(
    st.lists(st.text(st.characters(categories=["Ll", "Mn", "Nd", "Lo"]), min_size=3), min_size=1)
)
def test_trained_words_are_known_words(texts: list[str]) -> None:
    if not any(map(words_of, texts)):
        return
    bag = BagOfWords.fit(texts, words=100_000)
    for text in texts:
        known, unknown = bag.split_words(text)
        assert not unknown
        assert set(known) | ENGLISH_STOP_WORDS == set(words_of(text)) | ENGLISH_STOP_WORDS
        assert bool(bag.encode([text]).any()) == bool(known)


def test_vowel_signs_tell_words_apart() -> None:
    bag = BagOfWords.fit(["लड़का और कुत्ता", "लड़की और पानी"])
    boy, girl = bag.encode(["लड़का", "लड़की"])
    assert (boy != girl).any()
    assert bag.encode(["कुत्ता"]).sum() == 1


def test_a_vocabulary_of_before_keeps_its_words_and_fingerprint(tmp_path) -> None:
    texts = ["कुत्ता, a dog", "un chien", nfd("chién")]
    old = BagOfWords(["chie", "chien", "dog"], tokens=1)
    old.save(tmp_path)
    assert "tokens" not in (tmp_path / "encoder.json").read_text()
    again = BagOfWords.load(tmp_path)
    assert again.fingerprint == old.fingerprint != BagOfWords(["chie", "chien", "dog"]).fingerprint
    theirs = CountVectorizer(vocabulary=["chie", "chien", "dog"]).transform(texts).toarray()
    assert (again.encode(texts) == theirs).all()
    assert again.split_words("dogs dog the") == (("dog",), ("dogs",))


def test_a_new_vocabulary_comes_back_with_its_rule(tmp_path) -> None:
    bag = BagOfWords.fit(["कुत्ता पानी", "犬の雪"], weighting="tfidf")
    bag.save(tmp_path)
    again = BagOfWords.load(tmp_path)
    assert again.tokens == 2
    assert again.fingerprint == bag.fingerprint
    assert (again.encode(["कुत्ता 雪"]) == bag.encode(["कुत्ता 雪"])).all()


def test_frequent_words_are_not_called_unknown() -> None:
    bag = BagOfWords.fit(["dog beach", "dog snow"])
    assert bag.split_words("The dogs and the DOG, with snwo on snow") == (
        ("dog", "snow"),
        ("dogs", "snwo"),
    )
    assert BagOfWords.fit(["the dog", "the cat"]).split_words("the the") == (("the",), ())
    with pytest.raises(ValueError, match=re.escape("tokens is 3; this version knows 1 and 2")):
        BagOfWords(["dog"], tokens=3)
