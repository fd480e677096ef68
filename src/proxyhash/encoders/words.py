"""Words of a text, in any script: what a bag of words counts.

A word is a run of letters, digits, underscores and the marks that belong to them (vowel signs,
accents), in lower case and in one normal form (NFKC), so that composed and decomposed letters and
full-width and half-width ones are the same. Characters that only steer layout (zero-width joiners,
direction marks, soft hyphens) are dropped. Words have two characters or more; a single one counts
where it is a word by itself, in Han and Hangul.

Scripts without spaces (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan) are cut into single letters
with their marks and overlapping pairs of them, as search engines do without a dictionary: a query
of two or more letters then finds the texts that hold them in this order.

For a text in ASCII the words are those of scikit-learn's `CountVectorizer`.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

__all__ = ["words_of"]

_ASCII = re.compile(r"\w\w+", re.ASCII)
_RUNS = re.compile(r"[^ ]+")
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # marks of repetition
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)
_HANGUL = (0xAC00, 0xD7A3)


class _Roles(dict[int, str | None]):
    """Role of each character, for `str.translate`: itself, a blank between words, or nothing."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        kind = unicodedata.category(character)  # "Ll" is a small letter, "Mn" a mark, ...
        if kind[0] in "LNM" or character == "_":
            role: str | None = character
        else:
            role = None if kind == "Cf" else " "
        self[code] = role
        return role


_ROLES = _Roles()


def words_of(text: str) -> list[str]:
    """Return the words of a text in their order, repeated as often as they occur.

    Example:
        >>> words_of("A dog's life")
        ['dog', 'life']
        >>> words_of("雪の犬")
        ['雪', 'の', '犬', '雪の', 'の犬']
    """
    if text.isascii():
        return _ASCII.findall(text.lower())
    # A letter in lower case may be decomposed again, such as the dotted capital I.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    words = []
    for run in _RUNS.findall(text.translate(_ROLES)):
        if run.isascii():
            words += [run] if len(run) > 1 else []
        else:
            words += _words_of_run(run)
    return words


def _words_of_run(run: str) -> list[str]:
    words, plain, letters = [], "", list[str]()
    for character in [*run, ""]:
        if character and letters and unicodedata.category(character)[0] == "M":
            letters[-1] += character
        elif character and _is_unspaced(ord(character)):
            words += _whole(plain)
            plain = ""
            letters.append(character)
        else:
            words += letters + [first + second for first, second in pairwise(letters)]
            letters = []
            plain += character
    return words + _whole(plain)


def _whole(word: str) -> list[str]:
    single = len(word) == 1 and _HANGUL[0] <= ord(word) <= _HANGUL[1]
    return [word] if len(word) > 1 or single else []


def _is_unspaced(code: int) -> bool:
    return code >= _UNSPACED[0][0] and any(first <= code <= last for first, last in _UNSPACED)
