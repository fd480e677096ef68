"""Questions as values: what is searched for, and how much of what."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes import check_codes, code_bytes
from proxyhash.data import MODALITIES
from proxyhash.errors import UsageError, check_option
from proxyhash.index.checks import check_filter, check_limits, check_shortlist
from proxyhash.index.second_look import RERANKINGS, SHORTLIST
from proxyhash.index.words import WEIGHT, check_weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float32
    from PIL.Image import Image

    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index import IndexItem
    from proxyhash.index.filters import Filter
    from proxyhash.search.notes import Note, WordsOfText

__all__ = [
    "EncodedQuery",
    "NoEncoderError",
    "NotFoundError",
    "Query",
    "RefusedError",
    "SearchOptions",
    "TooManyHitsError",
    "UnknownWordsError",
    "options_of_each",
    "plural",
]

DEFAULT_K = 12
MODES = ("codes", "words", "both")


class RefusedError(UsageError):
    """A query or option that cannot be used, unlike an index that cannot be read."""

    @classmethod
    def of(cls, error: UsageError) -> RefusedError:
        """Return an error with the same sentence, or the error itself if it is one."""
        return error if isinstance(error, cls) else cls(str(error))


class NotFoundError(RefusedError):
    """An id under which nothing is stored."""


class NoEncoderError(RefusedError):
    """A query that needs an encoder which is not there."""


class TooManyHitsError(RefusedError):
    """A radius search with more hits than one answer may hold."""


class UnknownWordsError(RefusedError):
    """A text of which the model knows no word.

    Args:
        message: a sentence for the person who asks.
        notes: the words, with what may have been meant.
    """

    def __init__(self, message: str, notes: tuple[Note, ...] = ()) -> None:
        super().__init__(message)
        self.notes = notes


@dataclass(frozen=True, eq=False)
class Query:
    """One question: a text, an image, a stored item, a code, a vector, or input of `modality`.

    Attributes:
        text: searched for by its meaning.
        image: file, a file's bytes, or an image that Pillow has opened.
        item: id of a stored item, which asks with a code of its own.
        code: packed code, uint8 (ceil(bits/8),), or its hex digits.
        vector: encoder output, float32 (d,), for the network of `modality`.
        input: what the encoder of another modality takes.
        modality: of `vector` and `input`; which code of `item` asks (default its first); which
            network made `code` (default unknown).

    Raises:
        UsageError: not exactly one of the first six is given, or it cannot be searched for.

    Example:
        >>> str(Query(text="two  dogs"))
        'the text "two dogs"'
        >>> str(Query(item="17", modality="image"))
        'the image of item 17'
    """

    text: str | None = None
    image: str | Path | bytes | Image | None = None
    item: str | None = None
    code: Codes | str | None = None
    vector: Float32[np.ndarray, " d"] | None = None
    input: Any = None
    modality: Modality | None = None

    def __post_init__(self) -> None:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise UsageError(
                f"a query is exactly one of {', '.join(_KINDS)}; "
                f"{' and '.join(given) or 'none of them'} is given"
            )
        (kind,) = given
        if kind in ("vector", "input") and self.modality is None:
            raise UsageError(f"a query by {kind} needs the modality whose model encodes it")
        if kind in ("text", "image"):
            if self.modality not in (None, kind):
                raise UsageError(
                    "modality says which code of an item asks; give it beside an id, a code or a "
                    "vector"
                )
            object.__setattr__(self, "modality", kind)
        if self.text is not None:
            if not isinstance(self.text, str):
                raise UsageError(f"the text is {self.text!r:.40}; it must be a string")
            object.__setattr__(self, "text", " ".join(self.text.split()))
            if not self.text:
                raise UsageError("the text is empty; write some words")
        if self.code is not None and not isinstance(self.code, (str, np.ndarray)):
            raise UsageError(
                f"the code is a {type(self.code).__name__}; packed uint8 bytes in an array, or hex "
                "digits, are expected"
            )
        if self.vector is not None:
            object.__setattr__(self, "vector", _checked_vector(self.vector))

    @classmethod
    def of(cls, modality: Modality, content: Any) -> Query:
        """Return the query by what the encoder of a modality takes, such as a text or a file."""
        if modality in ("text", "image"):
            return cls(**{modality: content})
        return cls(input=content, modality=modality)

    @property
    def kind(self) -> str:
        """The attribute given: "text", "image", "item", "code", "vector" or "input"."""
        return next(name for name in _KINDS if getattr(self, name) is not None)

    @property
    def content(self) -> Any:
        """The input for the encoder of `modality`; None for items, codes and vectors."""
        if self.text is not None:
            return self.text
        if isinstance(self.image, str):
            return Path(self.image)
        return self.input if self.image is None else self.image

    def packed_code(self, *, bits: int) -> Codes:
        """Return `code` as uint8 (ceil(bits/8),).

        Raises:
            UsageError: it is not of this length, or no hex digits.
            DataError: bits behind the last one are set.
        """
        code = self.code
        if isinstance(code, str):
            if not _HEX.fullmatch(code):
                raise UsageError(
                    f"the code is {code!r:.40}; it must be hex digits, two for each eight bits"
                )
            code = np.frombuffer(bytes.fromhex(code), np.uint8)
        assert code is not None
        if code.shape != (code_bytes(bits),):
            raise UsageError(f"the code has {8 * code.size} bits; codes of this index have {bits}")
        check_codes(code[None], bits=bits, name="the code")
        return code

    def __str__(self) -> str:
        """Return the query in words: 'the text "a dog"', "the image of item 17"."""
        if self.item is not None:
            return f"the {self.modality or 'code'} of item {self.item}"
        if self.text is not None:
            return f'the text "{self.text}"'
        if self.image is not None:
            path = self.content
            return f"the image {path.name if isinstance(path, Path) else '(given as bytes)'}"
        if self.code is not None:
            code = self.code if isinstance(self.code, str) else self.code.tobytes().hex()
            return f"the code {code if len(code) <= 16 else code[:16] + '...'}"
        return f"{'a vector' if self.vector is not None else 'an input'} of {self.modality}"


_HEX = re.compile(r"([0-9a-fA-F]{2})*")
_KINDS = ("text", "image", "item", "code", "vector", "input")


@dataclass(frozen=True, eq=False)
class EncodedQuery:
    """A query and the code that asks for it.

    Attributes:
        query: as it was given; an item's `modality` is filled in.
        code: packed code, uint8 (ceil(bits/8),).
        item: the item that asks, where it is one.
        stored: whether that item is in the searched index.
        known: whether the encoder found anything in the input; a bag of words may know none of the
            words, and then the code means nothing.
        words: the words of a text, where the encoder reads words.
        features: what the encoder made of the input, float32 (d,); None for items and codes, which
            are as sure of one bit as of any other.
    """

    query: Query
    code: Codes
    item: IndexItem | None = None
    stored: bool = False
    known: bool = True
    words: WordsOfText | None = None
    features: Float32[np.ndarray, " d"] | None = None

    @property
    def modality(self) -> Modality | None:
        """The modality of the network that made the code; None where that is unknown."""
        return self.query.modality

    @property
    def id(self) -> str | None:
        """The item's id, where an item asks."""
        return self.query.item

    @property
    def text(self) -> str | None:
        """The text that asks, or that of the item that does."""
        return self.query.text or _string(self._payload.get("text"))

    @property
    def image(self) -> Path | None:
        """Path of the image that asks, or of the item that does; None for bytes."""
        path = self.query.content if self.query.image is not None else None
        named = _string(self._payload.get("image"))
        return path if isinstance(path, Path) else Path(named) if named else None

    def check_known(self) -> None:
        """Refuse a query whose code would mean nothing.

        Raises:
            UnknownWordsError: the model knows no word of the text.
            UsageError: the model knows nothing of it.
        """
        if self.known:
            return
        if self.query.text is not None:
            notes = self.words.notes if self.words else ()
            meant = "; ".join(note.message for note in notes if note.suggestions)
            raise UnknownWordsError(
                f"the model knows no word of {self.query.text!r:.80}, so its code would mean "
                "nothing; try words that the texts of its training items use"
                + (f" ({meant})" if meant else ""),
                notes,
            )
        raise UsageError(
            f"the model finds nothing that it knows in {self.query}, so its code would mean "
            "nothing; try another"
        )

    def __str__(self) -> str:
        """Return the query in words."""
        return str(self.query)

    def to_dict(self) -> dict[str, Any]:
        """Return the query as JSON values, its code in hex."""
        return {
            "kind": self.query.kind,
            "modality": self.modality,
            "text": self.text,
            "image": str(self.image) if self.image else None,
            "id": self.id,
            "code": self.code.tobytes().hex(),
        }

    @property
    def _payload(self) -> Mapping[str, object]:
        return self.item.payload if self.item else {}


@dataclass(frozen=True)
class SearchOptions:
    """The target, number, distance and filter of the hits wanted.

    Attributes:
        target: modality whose codes are searched; default one other than the query's, where the
            index has one.
        k: at most this many hits; None for all within the radius.
        radius: no hit is farther than this, in bits.
        filter: only items whose payload matches.
        rerank: "asymmetric" orders hits by asymmetric distance: bits of which the query is less
            sure count less. "vectors" orders them by the distance to the vectors that an index
            keeps: how sure the items are of their bits counts, too. None for the Hamming distance.
        shortlist: how many of the nearest by Hamming distance are ordered so, at least k; None for
            all items.
        mode: "codes", "words" or "both" for what a text finds items by; "both" orders them by the
            fused score of their ranks. None for both where the index has a word index, else codes.
            Only texts have words; other queries are by code.
        words_weight: share of the words in the fused score, from 0 to 1.

    Raises:
        UsageError: neither k nor a radius is given, or one is out of range; an unknown rerank or
            mode.
    """

    target: Modality | None = None
    k: int | None = DEFAULT_K
    radius: int | None = None
    filter: Filter | None = field(default=None, hash=False)
    rerank: str | None = None
    shortlist: int | None = SHORTLIST
    mode: str | None = None
    words_weight: float = WEIGHT

    def __post_init__(self) -> None:
        check_limits(k=self.k, radius=self.radius)
        check_filter(self.filter)
        if self.rerank is not None:
            check_option("rerank", self.rerank, RERANKINGS)
        check_shortlist(self.shortlist)
        if self.mode is not None:
            check_option("mode", self.mode, MODES)
        check_weight(self.words_weight)


def options_of_each(
    options: SearchOptions | Sequence[SearchOptions], count: int
) -> list[SearchOptions]:
    """Return the options of each of `count` queries, which may all have the same.

    Raises:
        UsageError: "2 options are given for 3 queries".
    """
    each = [options] * count if isinstance(options, SearchOptions) else list(options)
    if len(each) != count:
        raise UsageError(f"{len(each)} options are given for {count} queries")
    return each


def plural(count: int | None, modality: Modality) -> str:
    """Return "1 image", "6,957 images", or "the images" where their number is unknown."""
    many = MODALITIES[modality].plural if modality in MODALITIES else f"{modality}s"
    return f"the {many}" if count is None else f"{count:,} {modality if count == 1 else many}"


def _checked_vector(vector: Any) -> Float32[np.ndarray, " d"]:
    try:
        values = np.asarray(vector, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise UsageError("the vector holds something that is not a number") from None
    if values.ndim != 1 or not values.size:
        raise UsageError(
            f"the vector has the shape {values.shape}; one row of features is expected"
        )
    if not np.isfinite(values).all():
        raise UsageError("the vector holds a number that is not finite")
    return values


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
