"""Content words of texts, and pairs of words that belong together."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.encoders.words import words_of
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Collection as Names
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["MAX_TERMS", "Terms", "find_phrases", "find_terms", "stop_words"]

MAX_TERMS = 2000
"""Terms at most; the most frequent ones are kept."""

_LEAST_ITEMS, _LEAST_SHARE, _MOST_SHARE = 5, 1 / 400, 1 / 4
_PAIR_BITS = 2.0  # pointwise mutual information of a pair of words, at least

_OTHER_STOP_WORDS = """
auf aus bei das dass dem den der des die durch ein eine einem einen einer eines für im in ist
mit nach nicht oder sich sind über um und unter vom von vor wird zu zum zur am an als auch à au
aux avec ce ces dans de du elle en est et il la le les leur mais ne ou par pas pour qui sa se
ses son sont sur un une al con del el ella es está las lo los más no o para por que sin sobre su
sus una unas unos y che da dai dal della delle di e gli i nel nella per più sono sul sulla tra
uno aan bij dat een het hij ik met naar niet of om onder op over te tot uit van voor wordt zijn
ao aos com como do dos em na nas nos os pela pelo são sem uma umas
"""


@dataclass(frozen=True)
class Terms:
    """Words and pairs of words, and which items have them.

    Attributes:
        names: m terms, such as "dog" and "hot dog", the most frequent first.
        held: sparse float32 (n, m), 1 where the text of an item has the term.
        counts: number of items that have each, int64 (m,), among those that were looked at.
    """

    names: tuple[str, ...]
    held: Any
    counts: NDArray[np.int64]


def stop_words() -> Names[str]:
    """Return words that say nothing about a subject, of English and six other languages."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS).union(_OTHER_STOP_WORDS.split())


def find_terms(
    texts: Sequence[str | None], positions: NDArray[np.int64], *, track: Track = silent
) -> Terms:
    """Return the terms of the texts at `positions`, and which of all texts have them.

    A word is a term if it is not a stop word or a number and 5 items, and one in 400, have it, but
    not every fourth. So is a pair of neighboring words if that often they are together, at least
    four times as often as by chance (a pointwise mutual information of 2 bits; Church and Hanks,
    "Word Association Norms, Mutual Information, and Lexicography", 1990).

    Args:
        texts: n texts; None where an item has none.
        positions: of the texts that decide what is a term.
        track: reports progress per text.
    """
    from scipy.sparse import csr_matrix

    split = [words_of(text) if text else [] for text in track(texts, "read words", len(texts))]
    stop = stop_words()
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for position in positions:
        words = split[position]
        singles.update(set(words))
        pairs.update(set(pairwise(words)))
    count = max(1, sum(bool(split[position]) for position in positions))
    least = max(_LEAST_ITEMS, math.ceil(count * _LEAST_SHARE))

    def is_content(word: str) -> bool:
        return word not in stop and not word.isdigit()

    found = {
        word: number
        for word, number in singles.items()
        if least <= number <= count * _MOST_SHARE and is_content(word)
    }
    for (first, second), number in pairs.items():
        if number < least or not (is_content(first) and is_content(second)):
            continue
        if math.log2(number * count / (singles[first] * singles[second])) >= _PAIR_BITS:
            found[f"{first} {second}"] = number
    names = sorted(found, key=lambda term: (-found[term], term))[:MAX_TERMS]
    columns = {term: column for column, term in enumerate(names)}
    rows, places = [], []
    for row, words in enumerate(split):
        own = {*words, *(f"{a} {b}" for a, b in pairwise(words))} & columns.keys()
        rows += [row] * len(own)
        places += sorted(columns[term] for term in own)
    held = csr_matrix(
        (np.ones(len(rows), np.float32), (rows, places)), shape=(len(texts), len(names))
    )
    return Terms(tuple(names), held, np.array([found[term] for term in names], np.int64))


def find_phrases(
    texts: Sequence[str | None], phrases: Sequence[str], *, track: Track = silent
) -> NDArray[np.bool_]:
    """Return which texts have each phrase, bool (n, m): its words in this order.

    A word is also found with an "s" or "es" behind it.

    Args:
        texts: n texts; None where an item has none.
        phrases: m words or phrases.
        track: reports progress per text.
    """
    split = [words_of(phrase) for phrase in phrases]
    starting: dict[str, list[int]] = {}
    for column, words in enumerate(split):
        if words:
            starting.setdefault(words[0], []).append(column)
    found = np.zeros((len(texts), len(phrases)), np.bool_)
    for row, text in enumerate(track(texts, "read words", len(texts))):
        words = words_of(text) if text else []
        for place, word in enumerate(words):
            for form in _forms(word):
                for column in starting.get(form, ()):
                    wanted = split[column]
                    own = words[place : place + len(wanted)]
                    found[row, column] |= len(own) == len(wanted) and all(
                        each in _forms(have) for have, each in zip(own, wanted, strict=True)
                    )
    return found


def _forms(word: str) -> tuple[str, ...]:
    """Return a word, and what it may be the plural of."""
    if word.endswith("es"):
        return word, word[:-1], word[:-2]
    return (word, word[:-1]) if word.endswith("s") else (word,)
