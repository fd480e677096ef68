"""The answer of a search, ready to print, to show on a page or to send as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyhash.search.query import plural

if TYPE_CHECKING:
    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index import Hit
    from proxyhash.search.notes import Note
    from proxyhash.search.query import EncodedQuery

__all__ = ["Answer"]


@dataclass(frozen=True, eq=False)
class Answer:
    """The items nearest to a query.

    Attributes:
        query: what was searched for, and its code.
        target: modality whose codes were searched.
        hits: ordered by (distance, id), or with `rerank` by (that distance, id); their
            payload has `text`, `image` (a path) and `labels`, unless other programs stored it.
        codes: the hits' packed codes, uint8 (len(hits), ceil(bits/8)).
        searched: number of items compared, those that the filter passes, without the item that
            asks; None where the index cannot tell.
        bits: the code length.
        with_thumbnail: ids that have a stored thumbnail; those of the hits are among them.
        words: the words of a text that the model knows, and that the answer is about; None where
            its encoder does not read words.
        notes: what of the question was not understood.
        within: number of the items compared that are at most as far as the last hit, see
            `Searcher.count_ties`; None where they were not counted.
        model: fingerprint of the model that made the codes; "" where it is not known.
        rerank: "asymmetric" or "vectors", where hits are ordered by that distance.
        mode: "codes", "words" or "both": what the hits were found by. But for codes, they are
            ordered by (fused score, distance, id).
    """

    query: EncodedQuery
    target: Modality
    hits: tuple[Hit, ...]
    codes: Codes
    searched: int | None
    bits: int
    with_thumbnail: frozenset[str] = frozenset()
    words: tuple[str, ...] | None = None
    notes: tuple[Note, ...] = ()
    within: int | None = None
    model: str = ""
    rerank: str | None = None
    mode: str = "codes"

    @property
    def ties(self) -> str:
        """Whether others are just as near: "3 more are as near as the last", or ""."""
        more = 0 if self.within is None else self.within - len(self.hits)
        if more <= 0 or not self.hits:
            return ""
        if self.hits[0].distance == self.hits[-1].distance:
            shown = f"{len(self.hits):,} of them {'is' if len(self.hits) == 1 else 'are'} shown"
            return f"{self.within:,} are equally near, {shown}"
        return f"{more:,} more {'is' if more == 1 else 'are'} as near as the last"

    @property
    def remarks(self) -> list[str]:
        """The notes as lines to print: "searched for: dogs, snow; not known: snwo"."""
        unknown = [note.message for note in self.notes if note.kind == "unknown_word"]
        others = [note.message for note in self.notes if note.kind != "unknown_word"]
        if unknown and self.words:
            unknown.insert(0, f"searched for: {', '.join(self.words)}")
        return ["; ".join(unknown), *others] if unknown else others

    @property
    def amount(self) -> str:
        """The number of hits and of what was compared: "12 nearest of 6,957 images"."""
        among = plural(self.searched, self.target)
        if self.mode == "words":
            return f"{len(self.hits)} with these words among {among}"
        return f"{len(self.hits)} nearest of {among}"

    def __str__(self) -> str:
        """Return one line: '12 nearest of 6,957 images to the text "a dog" (64 bits)'."""
        said = "for" if self.mode == "words" else "to"
        by = ", by code and words" if self.mode == "both" else ""
        return f"{self.amount} {said} {self.query} ({self.bits} bits{by})"

    def to_dict(self) -> dict[str, Any]:
        """Return query, notes, hits and their codes in hex as JSON values, payloads merged in."""
        return {
            "query": self.query.to_dict(),
            "target": self.target,
            "searched": self.searched,
            "within": self.within,
            "bits": self.bits,
            "rerank": self.rerank,
            "mode": self.mode,
            "hits": [_flat(hit) for hit in self.hits],
            "words": None if self.words is None else list(self.words),
            "notes": [note.to_dict() for note in self.notes],
            "codes": [code.tobytes().hex() for code in self.codes],
        }


def _flat(hit: Hit) -> dict[str, Any]:
    own: dict[str, Any] = {"id": hit.id, "distance": hit.distance}
    if hit.asymmetric is not None:
        own["asymmetric"] = hit.asymmetric
    if hit.vector_distance is not None:
        own["vector_distance"] = hit.vector_distance
    if hit.fused is not None:
        own |= {"fused": hit.fused, "matched": list(hit.matched)}
    return {**own, **hit.payload, **own}  # first in order, and never a payload's value
