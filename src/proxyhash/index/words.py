"""Words of texts and of questions, and the fusion of word matches with the nearest codes.

A word is a run of letters and digits, in lower case and without diacritics: "Café-Crème" is "cafe"
and "creme". In scripts without spaces, such as Chinese and Thai, each letter is a word. A question
is read by the same rule, so nothing in it is syntax, but two forms: "words in quotes" is a phrase,
and word* a prefix.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

__all__ = [
    "BOUNDARY",
    "DEPTH",
    "MAX_PHRASE",
    "MAX_TERMS",
    "MAX_TEXT",
    "WEIGHT",
    "Term",
    "WordQuery",
    "check_weight",
    "fuse_ranks",
    "inverse_frequency",
    "rarity_of",
    "split_words",
    "words_of_payload",
]

MAX_TEXT = 10_000
"""Characters of a question that are read for words."""

MAX_TERMS = 32
"""Words, phrases and prefixes of a question that are looked up."""

MAX_PHRASE = 16
"""Words of a phrase; the rest is ignored."""

MAX_WORD = 64
"""Characters of a word; the rest is ignored."""

MAX_WORDS = 10_000
"""Words of one item that are indexed."""

DEPTH = 100
"""How many of the nearest codes get a rank in the fusion, or k where that is more."""

WEIGHT = 0.55
"""Share of the words in the fused score: rare ones come before the nearest codes."""

RANK_CONSTANT = 60
"""Of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

BOUNDARY = "\N{MIDDLE DOT}"
"""Stands between the texts of an item, so that no phrase reaches from one into the next."""

_NOT_INDEXED = frozenset({"image"})
_SHORTEST_PREFIX = 2
_PIECE = re.compile(r'(?<!\w)["“”„]([^"“”„]*)["“”](?!\w)|[^\s"“”„]+')
_FOLDED = (
    range(0x300, 0x370),
    range(0x591, 0x5C8),  # Hebrew points
    range(0x64B, 0x660),  # Arabic vowel signs
    range(0x1AB0, 0x1B00),
    range(0x1DC0, 0x1E00),
    range(0x20D0, 0x2100),
    range(0xFE20, 0xFE30),
)
"""Marks that are left out; those of other scripts, such as Indic vowels, are parts of words."""

_UNSPACED = (
    range(0x0E00, 0x1000),  # Thai, Lao, Tibetan
    range(0x1000, 0x10A0),  # Burmese
    range(0x1780, 0x1800),  # Khmer
    range(0x3005, 0x3008),
    range(0x3040, 0x3100),  # kana
    range(0x31F0, 0x3200),
    range(0x3400, 0x4DC0),  # Han
    range(0x4E00, 0xA000),
    range(0x20000, 0x323B0),
)
"""Scripts that are written without spaces."""

_MOST_KNOWN = 20_000


class _Letters(dict[int, str]):
    """Characters as `str.translate` folds them; filled as they are met."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        kind = unicodedata.category(letter)
        if kind[0] == "M":
            found = "" if any(code in some for some in _FOLDED) else letter
        elif kind[0] not in "LN":  # soft hyphens and the like are inside of words
            found = "" if kind == "Cf" else " "
        else:
            found = f" {letter} " if any(code in some for some in _UNSPACED) else letter
        if len(self) < _MOST_KNOWN:
            self[code] = found
        return found


_LETTERS = _Letters()


def split_words(text: str) -> list[str]:
    """Return the words of a text in their order.

    >>> split_words("Café-Crème, 3/4 l")
    ['cafe', 'creme', '3', '4', 'l']
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    folded = text.casefold().translate(_LETTERS)
    if not folded.isascii():
        folded = unicodedata.normalize("NFC", folded)
    return [word[:MAX_WORD] for word in folded.split()]


def words_of_payload(payload: Mapping[str, object], fields: Sequence[str] | None) -> list[str]:
    """Return the words of an item: of the strings and numbers in its payload.

    Args:
        payload: of the item.
        fields: keys whose values are read; None for all but `image`, which is a path.
    """
    names = [key for key in payload if key not in _NOT_INDEXED] if fields is None else fields
    words: list[str] = []
    for name in names:
        for text in _texts(payload.get(name)):
            found = split_words(text[: MAX_WORD * MAX_WORDS])
            if words and found:
                words.append(BOUNDARY)
            words += found
            if len(words) >= MAX_WORDS:
                return words[:MAX_WORDS]
    return words


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield repr(value)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))


@dataclass(frozen=True)
class Term:
    """One thing to look up: a word, or several that follow one another.

    Attributes:
        words: as `split_words` returns them.
        prefix: whether the last one is the beginning of a word.
        required: whether only items with it match, as with a phrase in quotes.
    """

    words: tuple[str, ...]
    prefix: bool = False
    required: bool = False

    @property
    def match(self) -> str:
        """The expression for FTS5; it holds letters and digits alone, so it is never syntax."""
        return f'"{" ".join(self.words)}"' + ("*" if self.prefix else "")

    def __str__(self) -> str:
        return " ".join(self.words) + ("*" if self.prefix else "")


@dataclass(frozen=True)
class WordQuery:
    """The words of a question, and how much they count beside its code.

    Attributes:
        terms: each once, at most `MAX_TERMS`.
        weight: from 0 to 1; 1 for the items that match alone.
        unknown: words that no code knows, as `split_words` returns them: the most is made of them,
            however frequent they are.
    """

    terms: tuple[Term, ...]
    weight: float = WEIGHT
    unknown: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str, *, weight: float = WEIGHT, unknown: Iterable[str] = ()) -> WordQuery:
        """Return what a text asks for; it may be anything.

        Words that are joined by other characters than spaces, such as AB-1234, are looked up one by
        one and as a phrase.

        >>> [str(term) for term in WordQuery.of('AB-12 "red shirt" coat*').terms]
        ['ab 12', 'ab', '12', 'red shirt', 'coat*']
        """
        terms: dict[Term, None] = {}
        for piece in _PIECE.finditer(text[:MAX_TEXT]):
            for term in _terms_of(piece[0], piece[1]):
                if len(terms) < MAX_TERMS:
                    terms[term] = None
        strange = frozenset(word for one in unknown for word in split_words(one))
        return cls(tuple(terms), weight, strange)


def _terms_of(piece: str, quoted: str | None) -> list[Term]:
    content = (piece if quoted is None else quoted).rstrip()
    words = tuple(split_words(content))[:MAX_PHRASE]
    if not words:
        return []
    prefix = (
        content.endswith("*") and content[-2:-1].isalnum() and len(words[-1]) >= _SHORTEST_PREFIX
    )
    if quoted is not None:
        return [Term(words, prefix, required=True)]
    if len(words) == 1:
        return [Term(words, prefix)]
    terms = [Term(words, prefix)]
    for place, word in enumerate(words):
        if not _is_unspaced(word):
            terms.append(Term((word,), prefix and place == len(words) - 1))
        elif place + 1 < len(words) and len(words) > 2:
            terms.append(Term(words[place : place + 2]))
    return terms


def _is_unspaced(word: str) -> bool:
    return len(word) == 1 and any(ord(word) in some for some in _UNSPACED)


def check_weight(weight: float) -> float:
    """Return the share of words in a fused score.

    Raises:
        UsageError: "words_weight is 2; it must be from 0 to 1".
    """
    number = isinstance(weight, (int, float, np.integer, np.floating))
    if isinstance(weight, bool) or not number or not 0 <= weight <= 1:
        raise UsageError(f"words_weight is {weight!r:.40}; it must be from 0 to 1")
    return float(weight)


def inverse_frequency(items: int, having: int) -> float:
    """Return what a term says that `having` of `items` items have: the idf of BM25, positive."""
    return math.log1p((items - having + 0.5) / (having + 0.5))


def rarity_of(items: int, having: int) -> float:
    """Return how rare a term is that `having` of `items` items have: 1 if one has it, 0 if all.

    (1 - log(having) / log(items)) ** 1.5; docs/lab-notes.md has what was tried.
    """
    if having <= 1 or items <= 1:
        return 1.0
    return float(max(0.0, 1 - math.log(having) / math.log(items)) ** 1.5)


def fuse_ranks(
    nearest: npt.NDArray[np.int64],
    matching: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    rarity: npt.NDArray[np.float64],
    *,
    weight: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return rows and their fused scores, the sum of weight / (60 + rank) over both lists.

    Equal scores of words share a rank, the best of them, so that codes order what words cannot.
    Frequent words count less, for codes know them: the weight of a match is multiplied by the
    rarity of its rarest word.

    Args:
        nearest: rows by their codes, the nearest first.
        matching: rows by their words, all different.
        scores: of the matching rows.
        rarity: of the matching rows, from 0 to 1, see `rarity_of`.
        weight: of the words, from 0 to 1; that of the codes is the rest.

    Returns:
        rows int64 (m,), ascending, and scores float64 (m,).
    """
    rows = np.union1d(nearest, matching)
    fused = np.zeros(len(rows))
    ranks = np.arange(1, len(nearest) + 1)
    fused[np.searchsorted(rows, nearest)] = (1 - weight) / (RANK_CONSTANT + ranks)
    better = len(scores) - np.searchsorted(np.sort(scores), scores, side="right")
    fused[np.searchsorted(rows, matching)] += weight * rarity / (RANK_CONSTANT + 1 + better)
    return rows, fused
