"""A search and its answer, as values that the command line, a page or a service can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index import Hit

__all__ = ["Answer", "Query"]


@dataclass(frozen=True, eq=False)
class Query:
    """What was searched for.

    Attributes:
        modality: which side of the model made the code.
        code: packed code, uint8 (ceil(bits/8),).
        text: the text, where there is one.
        image: the image's file, where there is one.
        id: the item of the collection, where it is one.
    """

    modality: Modality
    code: Codes
    text: str | None = None
    image: Path | None = None
    id: str | None = None

    def __str__(self) -> str:
        """Return the query in words: 'the text "a dog"', "the image of item 17"."""
        if self.id is not None:
            return f"the {self.modality} of item {self.id}"
        if self.modality == "text":
            return f'the text "{self.text}"'
        return f"the image {self.image.name if self.image else '(given as bytes)'}"

    def to_dict(self) -> dict[str, Any]:
        """Return the query without its code, ready for JSON."""
        return {
            "modality": self.modality,
            "text": self.text,
            "image": str(self.image) if self.image else None,
            "id": self.id,
        }


@dataclass(frozen=True, eq=False)
class Answer:
    """The items nearest to a query.

    Attributes:
        query: what was searched for.
        target: which modality of the gallery was searched.
        hits: ordered by (distance, id); their payload has `text`, `image` (a path) and `labels`,
            unless other programs stored it.
        codes: the hits' packed codes, uint8 (len(hits), ceil(bits/8)).
        searched: how many items were compared.
        bits: the code length.
    """

    query: Query
    target: Modality
    hits: tuple[Hit, ...]
    codes: Codes
    searched: int
    bits: int

    def __str__(self) -> str:
        """Return one line: '12 nearest of 6,957 images to the text "a dog" (64 bits)'."""
        return (
            f"{len(self.hits)} nearest of {self.searched:,} {self.target}s "
            f"to {self.query} ({self.bits} bits)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return query and hits, ready for JSON; a hit's payload stands beside id and distance."""
        return {
            "query": self.query.to_dict(),
            "target": self.target,
            "searched": self.searched,
            "bits": self.bits,
            "hits": [_flat(hit) for hit in self.hits],
        }


def _flat(hit: Hit) -> dict[str, Any]:
    own: dict[str, Any] = {"id": hit.id, "distance": hit.distance}
    return {**own, **hit.payload, **own}  # first in order, and never a payload's value
