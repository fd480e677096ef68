"""Notes on an answer: what of the question was not understood, and what may have been meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from proxyhash.errors import DataError, closest
from proxyhash.index.filters import And, Contains, Equals, Not, Or, Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from proxyhash.index import Index
    from proxyhash.index.fields import FieldKind
    from proxyhash.index.filters import Filter

__all__ = ["FilterReader", "KnowsWords", "Note", "WordsOfText", "read_words"]

_MOST_WORDS = 8
"""Unknown words that are named with suggestions; a long text may have thousands."""
_MOST_CONDITIONS = 8
_MOST_VALUES = 100_000
"""Values of lists that are remembered as those that some item has."""
_KINDS = {str: "string", bool: "boolean", int: "number", float: "number"}
_NAMES = {
    "string": "a text",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "object": "an object",
    "null": "empty",
}


@dataclass(frozen=True)
class Note:
    """One thing about a question that its answer cannot show.

    Attributes:
        kind: "unknown_word", "unknown_field", "other_type", "unknown_label" or "no_words".
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
    return Note("unknown_word", f"not known: {word:.60}{_meant(close)}", word, close)


class FilterReader:
    """Tells what of a filter no item of an index can meet: unknown fields, types and labels.

    Args:
        index: searched with the filters.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._seen: set[tuple[str, type, object]] = set()

    def read(self, filter: Filter | None) -> tuple[Note, ...]:  # noqa: A002 -- the index's word
        """Return the notes on a filter; none where the index cannot tell its fields."""
        if filter is None or not self._index.supports("fields"):
            return ()
        fields = self._index.fields()
        notes: dict[Note, None] = {}
        for condition in _conditions(filter):
            if len(notes) >= _MOST_CONDITIONS:
                break
            kind = fields.get(condition.field)
            if kind is None:
                note = _unknown_field(condition.field, fields) if fields.complete else None
            else:
                note = _other_type(condition, kind) or self._unknown_label(condition)
            if note is not None:
                notes[note] = None
        return tuple(notes)

    def _unknown_label(self, condition: _Condition) -> Note | None:
        if not isinstance(condition, Contains) or not self._index.supports("count_values"):
            return None
        field, value = condition.field, condition.value
        if (field, type(value), value) in self._seen:
            return None
        try:
            members = self._index.count_values(field)
        except DataError:  # a note is not worth an answer
            return None
        if members is None:  # still being read; the next search has them
            return None
        there = [member for member, count in members if count]
        self._seen = {*self._seen, *((field, type(one), one) for one in there[:_MOST_VALUES])}
        if len(self._seen) > 2 * _MOST_VALUES:
            self._seen = set()
        if any(type(one) is type(value) and one == value for one in there):
            return None
        close = closest(str(value), (one for one in there if isinstance(one, str)))
        what = f"no item has {str(value)!r:.60} in {condition.field!r:.60}"
        return Note("unknown_label", what + _meant(close), str(value), close)


_Condition = Equals | Contains | Range


def _conditions(filter: Filter) -> Iterator[_Condition]:  # noqa: A002
    match filter:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _conditions(part)
        case Not(part):
            yield from _conditions(part)
        case _:
            yield filter


def _unknown_field(field: str, fields: Iterable[str]) -> Note:
    if field == "id":
        message = "conditions ask keys of the manifest, and ids are none of them"
        return Note("unknown_field", message, field)
    close = closest(field, fields)
    return Note("unknown_field", f"no item has a field {field!r:.60}{_meant(close)}", field, close)


def _other_type(condition: _Condition, kind: FieldKind) -> Note | None:
    """Return a note on a condition that no value of its field can meet by its type."""
    if isinstance(condition, Contains):
        wanted, given = {"list"}, "`contains` asks lists"
    else:
        if isinstance(condition, Equals):
            values = [condition.value]
        else:
            bounds = (condition.gt, condition.ge, condition.lt, condition.le)
            values = [bound for bound in bounds if bound is not None]
        if any(value is None for value in values):  # every field can be empty
            return None
        wanted = {_KINDS[type(value)] for value in values}
        given = f"{values[0]!r:.60} is {_NAMES[_KINDS[type(values[0])]]}"
    if wanted <= kind.types:
        return None
    others = sorted(kind.types - {"null"}) or ["null"]
    has = " or ".join(_NAMES[name] for name in others)
    message = f"{condition.field!r:.60} is {has} everywhere, but {given}"
    if wanted == {"string"} and "number" in kind.types:
        message += "; leave the quotes out"
    elif wanted == {"number"} and "string" in kind.types:
        message += "; put it in quotes"
    elif "list" in kind.types:
        message += "; use `contains`"
    elif wanted == {"list"}:
        message += "; = compares the whole text, and parts of texts cannot be asked"
    return Note("other_type", message, condition.field)


def _meant(close: tuple[str, ...]) -> str:
    return f" - did you mean {' or '.join(close)}?" if close else ""
