"""The interface that every index has, whether it lives in memory, in a folder or on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from proxyhash.codes import Codes
    from proxyhash.index.filters import Filter
    from proxyhash.index.hit import Hit, IndexItem

__all__ = ["Index"]


class Index(Protocol):
    """Items under ids, each with a code in one or several modalities, searched by distance.

    Where an index has a single modality, plain codes stand for a mapping with that one key.

    Attributes:
        bits: the code length.
        model: fingerprint of the model that made the codes, "" when unknown.
        modalities: what an item may have a code of, such as ("image", "text").
    """

    bits: int
    model: str
    modalities: tuple[str, ...]

    def add(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store new items, all of them or none.

        Args:
            ids: n ids, none of them stored already.
            codes: packed codes, uint8 (n, ceil(bits/8)), by modality. Items that lack a modality
                go into a call of their own, without that key.
            payloads: n JSON objects that hits carry along; default empty ones.

        Raises:
            DataError: "id 'x' is already in the index", or codes or payloads do not fit.
        """
        ...

    def upsert(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store items, all or none, in place of whatever was stored under their ids."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items, all or none; ids that are not stored are passed over.

        Returns:
            how many items there were to remove.
        """
        ...

    def get(self, id: str, /) -> IndexItem:  # noqa: A002
        """Return what is stored under an id.

        Raises:
            UsageError: "no item 'x' in the index".
        """
        ...

    def get_many(self, ids: Sequence[str]) -> dict[str, IndexItem]:
        """Return what is stored under those of the ids that are there, by id."""
        ...

    def count(
        self,
        modality: str,
        *,
        filter: Filter | None = None,  # noqa: A002
    ) -> int | None:
        """Return how many items a search of a modality compares; None where it cannot be told."""
        ...

    def search(
        self,
        codes: Codes,
        *,
        k: int | None = None,
        modality: str | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002
    ) -> list[list[Hit]]:
        """Return the nearest items of each query, ordered by (distance, id).

        Args:
            codes: packed queries, uint8 (q, ceil(bits/8)).
            k: at most this many hits a query, at least 1; None for all within the radius.
            modality: whose codes are searched; may be left out where there is only one.
            radius: no hit is farther than this many bits.
            filter: only items whose payload matches.

        Raises:
            UsageError: neither k nor a radius, or one out of range; an unknown modality.
            DataError: the codes have another width than the index.
        """
        ...

    def items(self, *, batch: int = 10_000) -> Iterator[list[IndexItem]]:
        """Return all items in batches, in the order of their ids."""
        ...

    def info(self) -> dict[str, object]:
        """Return what the index is and holds, for people to read: JSON values only."""
        ...

    def close(self) -> None:
        """Let go of files and connections; what was acknowledged is stored already."""
        ...

    def __contains__(self, id: object, /) -> bool:  # noqa: A002
        """Whether something is stored under this id."""
        ...

    def __len__(self) -> int:
        """Return the number of items."""
        ...
