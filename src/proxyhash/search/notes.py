"""Notes on an answer: what of the question was not understood, and what may have been meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from proxyhash.errors import closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["KnowsWords", "Note", "WordsOfText", "read_words"]

_MOST_WORDS = 8
"""Unknown words that are named with suggestions; a long text may have thousands."""


@dataclass(frozen=True)
class Note:
    """One thing about a question that its answer cannot show.

    Attributes:
        kind: "unknown_word", "unknown_field", "other_type" or "unknown_label".
        message: a sentence for the person who asks.
        subject: the word, field or label it is about.
        suggestions: what may have been meant, most likely first.
    """

    kind: str
    message: str
    subject: str = ""
    suggestions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the note as JSON values."""
        return {
            "kind": self.kind,
            "message": self.message,
            "subject": self.subject,
            "suggestions": list(self.suggestions),
        }

    @classmethod
    def from_dict(cls, note: Mapping[str, Any]) -> Note:
        """Return the note that `to_dict` turned into JSON values."""
        suggestions = tuple(note["suggestions"])
        return cls(note["kind"], note["message"], note["subject"], suggestions)


@runtime_checkable
class KnowsWords(Protocol):
    """An encoder that reads a text word by word, such as a bag of words."""

    @property
    def words(self) -> tuple[str, ...]:
        """Every word it knows."""
        ...

    def split_words(self, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the words of a text that the encoder knows, and those that it does not."""
        ...


@dataclass(frozen=True)
class WordsOfText:
    """The words of a text as an encoder reads them.

    Attributes:
        known: those it knows, each once, in their order.
        notes: one per word that it does not know; at most eight.
    """

    known: tuple[str, ...]
    notes: tuple[Note, ...]


def read_words(encoder: object, text: str) -> WordsOfText | None:
    """Return the words of a text, or None for an encoder that does not read words."""
    if not isinstance(encoder, KnowsWords):
        return None
    known, unknown = encoder.split_words(text)
    notes = (_unknown(word, encoder.words) for word in unknown[:_MOST_WORDS])
    return WordsOfText(known, tuple(notes))


def _unknown(word: str, words: Iterable[str]) -> Note:
    close = closest(word, words)
    hint = f" - did you mean {' or '.join(close)}?" if close else ""
    return Note("unknown_word", f"not known: {word:.60}{hint}", word, close)
