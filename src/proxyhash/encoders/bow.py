"""Bag-of-words encoder: which words of a fixed vocabulary a text contains."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from proxyhash.encoders.base import BatchEncoder, EncoderRequest, read_options, register_encoder
from proxyhash.encoders.folder import fingerprint_of, read_settings, write_settings
from proxyhash.encoders.words import words_of
from proxyhash.errors import DataError, UsageError, check_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.modalities import Modality

__all__ = ["WEIGHTINGS", "BagOfWords"]

TOKENS = 2
WEIGHTINGS = ("binary", "count", "tfidf")


@register_encoder
class BagOfWords(BatchEncoder):
    """Word vector over the most frequent words of the train texts, as in the hashing literature.

    Words are those of `words_of`. A text without a known word gets a zero vector.

    Attributes:
        words: the vocabulary, alphabetic; the columns of the features.
        weighting: "binary" is 1 where the word occurs; "count" how often; "tfidf" the count times
            log((1 + n) / (1 + n_word)) + 1 over the n train texts, scikit-learn's smooth idf.
        normalize: whether each vector is divided by its Euclidean norm.
        tokens: version of the rule that cuts texts into words. 2 is `words_of`; 1, of vocabularies
            saved before it, is that of scikit-learn's `CountVectorizer`, which cuts words at
            combining marks.
    """

    kind: ClassVar[str] = "bow"
    modalities: ClassVar[tuple[Modality, ...]] = ("text",)
    cached: bool = False
    earlier: ClassVar[tuple[str, ...]] = ("tokens=1",)

    modality: Modality = "text"

    def __init__(
        self,
        words: Sequence[str],
        *,
        weighting: str = "binary",
        normalize: bool = False,
        idf: Sequence[float] | None = None,
        tokens: int = TOKENS,
    ) -> None:
        self.words = tuple(words)
        if tokens not in (1, TOKENS):
            raise ValueError(f"tokens is {tokens!r}; this version knows 1 and {TOKENS}")
        self.tokens = tokens
        self.weighting = check_option("weighting", weighting, WEIGHTINGS)
        self.normalize = normalize
        self._idf = None if idf is None else np.asarray(idf, dtype=np.float64)
        if not self.words or len(set(self.words)) != len(self.words):
            raise ValueError("the vocabulary must have at least one word, and each word once")
        if (self._idf is not None) != (weighting == "tfidf") or (
            self._idf is not None and self._idf.shape != (len(self.words),)
        ):
            raise ValueError("the weighting tfidf, and only that, comes with one idf per word")
        self.dim = len(self.words)
        self.fingerprint = fingerprint_of({"kind": self.kind, **self._settings()}, {})

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        *,
        words: int = 2000,
        weighting: str = "binary",
        normalize: bool = False,
        stop_words: bool = False,
        tokens: int = TOKENS,
    ) -> Self:
        """Return a bag of the words that occur in most texts; ties are broken alphabetically.

        Args:
            texts: the train texts.
            words: the vocabulary size, at most.
            weighting: see the class.
            normalize: see the class.
            stop_words: whether to exclude scikit-learn's list of frequent English words.
            tokens: see the class.

        Raises:
            UsageError: "words is 0; ...", or the weighting is unknown.
            DataError: "none of the 12 texts has a word ...".
        """
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

        check_option("weighting", weighting, WEIGHTINGS)
        if words < 1:
            raise UsageError(f"words is {words}; a bag of words needs at least one")
        vectorizer = CountVectorizer(binary=True, analyzer=_analyzer(tokens))
        try:
            found = vectorizer.fit_transform(texts)
        except ValueError as error:  # scikit-learn's "empty vocabulary"
            raise DataError(
                f"none of the {len(texts)} texts has a word of two letters or more, so there is no "
                "vocabulary; use another text encoder"
            ) from error
        names = vectorizer.get_feature_names_out()
        frequency = np.asarray(found.sum(axis=0)).ravel()
        if stop_words:
            telling = ~np.isin(names, sorted(ENGLISH_STOP_WORDS))
            names, frequency = names[telling], frequency[telling]
        kept = np.sort(np.lexsort((np.arange(len(names)), -frequency))[:words])
        idf = np.log((1 + len(texts)) / (1 + frequency[kept])) + 1 if weighting == "tfidf" else None
        return cls(
            names[kept].tolist(),
            weighting=weighting,
            normalize=normalize,
            idf=None if idf is None else idf.tolist(),
            tokens=tokens,
        )

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Fit on texts of the training items; options are the arguments of `fit`."""
        defaults = {
            "words": request.bow_words,
            "weighting": "binary",
            "normalize": False,
            "stop_words": False,
            "tokens": TOKENS,
        }
        options = read_options(cls.kind, request.argument, defaults)
        collection, train = request.training_inputs(cls.kind)
        texts = collection.sources(cls.modality)
        return cls.fit([str(texts[row]) for row in train if texts[row] is not None], **options)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Return the saved bag of words; `device` is ignored."""
        del device
        settings = read_settings(folder)
        return cls(
            settings["words"],
            weighting=settings["weighting"],
            normalize=settings["normalize"],
            idf=settings["idf"],
            tokens=settings.get("tokens", 1),
        )

    def save(self, folder: Path) -> None:
        """Write the vocabulary and the settings as JSON."""
        write_settings(folder, self, self._settings())

    def split_words(self, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the words of a text in the vocabulary, and those outside; each word once.

        Frequent English words without a meaning of their own (the, and) are left out, except where
        the text has no other known word.
        """
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        found = list(dict.fromkeys(self._analyze(text)))
        known = [word for word in found if word in self._columns]
        telling = [word for word in known if word not in ENGLISH_STOP_WORDS]
        outside = (word for word in found if word not in self._columns)
        unknown = tuple(word for word in outside if word not in ENGLISH_STOP_WORDS)
        return tuple(telling or known), unknown

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the word vectors of one batch of texts."""
        counts: NDArray[np.float32] = (
            self._vectorizer.transform(prepared).toarray().astype(np.float32)
        )
        if self._idf is not None:
            counts *= self._idf.astype(np.float32)
        if self.normalize:
            norms = np.linalg.norm(counts, axis=1, keepdims=True)
            counts /= np.where(norms > 0, norms, 1)
        return counts

    def counts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return how often each word of the vocabulary occurs in each text, (n, dim)."""
        counter = self._make_vectorizer(binary=False)
        found: NDArray[np.float32] = counter.transform(texts).toarray().astype(np.float32)
        return found

    @property
    def idf(self) -> NDArray[np.float64] | None:
        """Weight of each word, (dim,), where the weighting is "tfidf"."""
        return self._idf

    @cached_property
    def _vectorizer(self) -> Any:
        return self._make_vectorizer(binary=self.weighting == "binary")

    def _make_vectorizer(self, *, binary: bool) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer

        return CountVectorizer(
            vocabulary=self.words, binary=binary, analyzer=_analyzer(self.tokens)
        )

    @cached_property
    def _analyze(self) -> Any:
        return self._vectorizer.build_analyzer()

    @cached_property
    def _columns(self) -> frozenset[str]:
        return frozenset(self.words)

    def _settings(self) -> dict[str, Any]:
        # Vocabularies of before keep their fingerprint.
        tokens = {} if self.tokens == 1 else {"tokens": self.tokens}
        return tokens | {
            "words": list(self.words),
            "weighting": self.weighting,
            "normalize": self.normalize,
            "idf": None if self._idf is None else self._idf.tolist(),
        }


def _analyzer(tokens: int) -> Any:
    return "word" if tokens == 1 else words_of
