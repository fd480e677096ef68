from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from proxyhash.encoders import BagOfWords, make_encoder
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection

TEXTS = [
    "A dog, a dog and a cat.",
    "The cat sleeps",
    "dog on the beach; the beach is wide",
    "the sea",
]

words = st.sampled_from(["dog", "cat", "sea", "the", "snow", "a"])
texts = st.lists(st.lists(words, max_size=6).map(" ".join), min_size=1, max_size=8)


def words_of(text: str) -> list[str]:
    return re.findall(r"\b\w\w+\b", text.lower())


def test_the_words_in_most_texts_are_kept() -> None:
    assert BagOfWords.fit(TEXTS, words=3).words == ("cat", "dog", "the")
    # the: 3 texts; cat, dog: 2; and, beach, is, on, sea, sleeps, wide: 1, so the alphabet decides
    assert BagOfWords.fit(TEXTS, words=5).words == ("and", "beach", "cat", "dog", "the")
    assert BagOfWords.fit(TEXTS, words=100).dim == 10


def test_stop_words_can_be_left_out() -> None:
    assert BagOfWords.fit(TEXTS, words=100, stop_words=True).words == (
        "beach",
        "cat",
        "dog",
        "sea",
        "sleeps",
        "wide",
    )


@given(train=texts, new=texts, count=st.integers(1, 6))
def test_binary_and_count_agree_with_counting_by_hand(
    train: list[str], new: list[str], count: int
) -> None:
    if not any(words_of(text) for text in train):
        return
    frequency = Counter(word for text in train for word in set(words_of(text)))
    kept = sorted(sorted(frequency, key=lambda word: (-frequency[word], word))[:count])
    expected = np.array([[words_of(text).count(word) for word in kept] for text in new])
    counted = BagOfWords.fit(train, words=count, weighting="count")
    assert list(counted.words) == kept
    np.testing.assert_array_equal(counted.encode(new), expected)
    np.testing.assert_array_equal(BagOfWords.fit(train, words=count).encode(new), expected > 0)


@pytest.mark.parametrize("normalize", [True, False])
def test_tfidf_agrees_with_scikit_learn(normalize: bool) -> None:
    ours = BagOfWords.fit(TEXTS, weighting="tfidf", normalize=normalize)
    theirs = TfidfVectorizer(norm="l2" if normalize else None).fit(TEXTS)
    assert list(ours.words) == theirs.get_feature_names_out().tolist()
    expected = theirs.transform([*TEXTS, "dog dog", ""]).toarray()
    np.testing.assert_allclose(ours.encode([*TEXTS, "dog dog", ""]), expected, rtol=1e-6)


def test_normalized_rows_have_norm_one_or_zero() -> None:
    features = BagOfWords.fit(TEXTS, normalize=True).encode([*TEXTS, "unheard of"])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), [1, 1, 1, 1, 0], rtol=1e-6)


def test_only_the_train_texts_teach(scenes: Collection) -> None:
    train = np.arange(40)
    encoder = make_encoder("bow:words=9999", modality="text", collection=scenes, train=train)
    assert isinstance(encoder, BagOfWords)
    known = {
        word for position in train for word in words_of(scenes.sources("text")[position] or "")
    }
    assert set(encoder.words) == known
    assert known < {word for text in scenes.sources("text") for word in words_of(text or "")}


def test_options_and_the_number_of_words(scenes: Collection) -> None:
    train = np.arange(100)
    plain = make_encoder("bow", modality="text", collection=scenes, train=train, bow_words=20)
    assert isinstance(plain, BagOfWords)
    assert (plain.dim, plain.weighting, plain.normalize) == (20, "binary", False)
    spec = "bow:words=15,weighting=tfidf,normalize=true,stop_words=yes"
    other = make_encoder(spec, modality="text", collection=scenes, train=train, bow_words=20)
    assert isinstance(other, BagOfWords)
    assert (other.dim, other.weighting, other.normalize) == (15, "tfidf", True)
    assert not {"the", "and", "in"} & set(other.words)


def test_the_vocabulary_is_plain_json(tmp_path: Path) -> None:
    BagOfWords.fit(TEXTS, words=3, weighting="tfidf").save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.json"]
    saved = json.loads((tmp_path / "encoder.json").read_text())
    assert saved["words"] == ["cat", "dog", "the"]
    np.testing.assert_allclose(saved["idf"], np.log(5 / np.array([3, 3, 4])) + 1)


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(DataError, match="none of the 2 texts has a word"):
        BagOfWords.fit(["a b", "!"])
    with pytest.raises(DataError, match="none of the 0 texts"):
        BagOfWords.fit([])
    with pytest.raises(UsageError, match="words is 0"):
        BagOfWords.fit(TEXTS, words=0)
    with pytest.raises(UsageError, match="did you mean 'binary'"):
        BagOfWords.fit(TEXTS, weighting="binari")


@pytest.mark.parametrize(
    "wrong",
    [
        {"words": []},
        {"words": ["a", "a"]},
        {"words": ["a"], "idf": [1.0]},
        {"words": ["a"], "weighting": "tfidf"},
        {"words": ["a"], "weighting": "tfidf", "idf": [1.0, 2.0]},
    ],
)
def test_a_vocabulary_must_fit_together(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="word"):
        BagOfWords(**wrong)  # type: ignore[arg-type]
