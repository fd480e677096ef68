"""Base class of every index, in memory, in a folder or on a server.

To write a backend, derive from `Index`, implement the methods that begin with an underscore and
the abstract ones, add the class methods of `Backend`, and register the class for its URIs with
`@register_index` (both in open.py). The contract suite (tests/index/test_index_contract.py) runs
over all backends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NoReturn

from proxyhash.codes import check_bits
from proxyhash.codes.asymmetric import check_weights
from proxyhash.errors import UsageError, check_option
from proxyhash.index.checks import (
    as_ids,
    can_be_id,
    check_batch,
    check_filter,
    check_item_weights,
    check_items,
    check_modalities,
    check_search,
)
from proxyhash.index.second_look import rank_hits

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import Codes, Weights
    from proxyhash.codes.vectors import VectorKind
    from proxyhash.index.fields import Fields
    from proxyhash.index.filters import Filter
    from proxyhash.index.hit import Hit, IndexItem
    from proxyhash.index.second_look import SecondLook
    from proxyhash.index.words import WordQuery

__all__ = ["CAPABILITIES", "Index"]

CAPABILITIES = (
    "write",
    "changes",
    "count_distances",
    "count_values",
    "fields",
    "verify",
    "compact",
    "snapshot",
    "drop",
    "search_words",
)
"""Names that `Index.supports` takes: "write" is `add`, `upsert` and `delete`, the others are the
methods of these names."""


class Index(ABC):
    """Items under ids, each with a code in one or several modalities, searched by distance.

    The public methods check their arguments and call the method of the same name with an
    underscore, so that every backend refuses the same with one sentence. Where an index has a
    single modality, plain codes stand for a mapping with that one key.

    Args:
        bits: the code length.
        model: fingerprint of the model that made the codes, "" when unknown.
        modalities: what an item may have a code of, such as ("image", "text").

    Attributes:
        kind: one word for the backend, for people to read.
        capabilities: those of `CAPABILITIES` that the index has; see `supports`.

    Raises:
        UsageError: the code length or a modality's name is out of range.
    """

    kind: ClassVar[str]
    capabilities: frozenset[str] = frozenset({"write"})

    def __init__(self, *, bits: int, model: str, modalities: Sequence[str]) -> None:
        self.bits = check_bits(bits)
        self.model = model
        self.modalities = check_modalities(modalities)

    def supports(self, capability: str) -> bool:
        """Whether the index has a capability; the methods of the others raise `UsageError`.

        Raises:
            UsageError: "capability is 'fly'; it must be one of changes, compact, ...".
        """
        return check_option("capability", capability, CAPABILITIES) in self.capabilities

    def add(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
        weights: Weights | Mapping[str, Weights] | None = None,
    ) -> None:
        """Store new items, all of them or none.

        Args:
            ids: n ids, none of them stored already.
            codes: packed codes, uint8 (n, ceil(bits/8)), by modality. Items that lack a modality
                go into a call of their own, without that key.
            payloads: n JSON objects that hits carry along; default empty ones.
            weights: how sure of each bit they are, uint16 (n, bits), by modality, for an index
                that keeps `vectors`. Default: an item that is stored with the same code keeps its
                vector, others count as sure of each bit.

        Raises:
            DataError: "id 'x' is already in the index", or codes or payloads do not fit.
        """
        self._store(ids, codes, payloads, weights, new=True)

    def upsert(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
        weights: Weights | Mapping[str, Weights] | None = None,
    ) -> None:
        """Store items, all or none, replacing whatever was stored under their ids."""
        self._store(ids, codes, payloads, weights, new=False)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items, all or none; ids that are not stored are ignored.

        Returns:
            how many items were removed.
        """
        return self._delete(as_ids(ids))

    def get(self, id: str, /) -> IndexItem:  # noqa: A002
        """Return the item stored under an id.

        Raises:
            UsageError: "no item 'x' in the index".
        """
        for item in self.get_many([id]).values():
            return item
        raise UsageError(f"no item {id!r} in the index")

    def get_many(self, ids: Sequence[str]) -> dict[str, IndexItem]:
        """Return the items stored under those of the ids that exist, by id, at one moment."""
        return self._get_many(as_ids(ids))

    def count(
        self,
        modality: str,
        *,
        filter: Filter | None = None,  # noqa: A002
    ) -> int | None:
        """Return how many items a search of a modality compares; None where it is unknown.

        Raises:
            UsageError: "modality is 'sound'; it must be one of image, text".
        """
        check_filter(filter)
        return self._count(check_option("modality", modality, self.modalities), filter)

    def search(
        self,
        codes: Codes,
        *,
        k: int | None = None,
        modality: str | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002
        look: SecondLook | None = None,
    ) -> list[list[Hit]]:
        """Return the nearest items of each query, ordered by (distance, id).

        With `look`, they are ordered by (asymmetric or vector distance, id), which hits have
        beside the Hamming distance.

        Args:
            codes: packed queries, uint8 (q, ceil(bits/8)).
            k: at most this many hits per query, at least 1; None for all within the radius.
            modality: whose codes are searched; may be left out where there is only one.
            radius: no hit is farther than this many bits.
            filter: only items whose payload matches.
            look: how sure the queries are of their bits, for an order that says more.

        Raises:
            UsageError: neither k nor a radius, or one out of range; an unknown modality.
            DataError: the codes have another width than the index, or the weights another shape.
        """
        check_filter(filter)
        modality = self._checked_search(codes, k=k, modality=modality, radius=radius)
        if look is None:
            return self._search(codes, k=k, modality=modality, radius=radius, filter=filter)
        check_weights(look.weights, queries=len(codes), bits=self.bits)
        if look.by == "vectors" and self.vectors is None:
            self._refuse_vectors()
        return self._look_again(codes, look, k=k, modality=modality, radius=radius, filter=filter)

    def search_words(
        self,
        codes: Codes,
        words: Sequence[WordQuery],
        *,
        k: int | None = None,
        modality: str | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002
        look: SecondLook | None = None,
    ) -> list[list[Hit]]:
        """Return the items of each query by code and words, ordered by (fused score, distance, id).

        The score is the sum of weight / (60 + rank) over the list of the nearest codes and that of
        the items whose words match. A query of weight 1 finds items whose words match alone.

        Args:
            codes: packed queries, uint8 (q, ceil(bits/8)).
            words: what each asks for.
            k: at most this many hits per query, at least 1; None for all within the radius.
            modality: whose codes are searched; only items that have one are found by words.
            radius: no hit is farther than this many bits, whatever its words.
            filter: only items whose payload matches.
            look: as in `search`, for the list of the nearest codes.

        Raises:
            UsageError: as `search`; or there is no word index.
            DataError: as `search`; or the word index is damaged.
        """
        check_filter(filter)
        modality = self._checked_search(codes, k=k, modality=modality, radius=radius)
        if look is not None:
            check_weights(look.weights, queries=len(codes), bits=self.bits)
            if look.by == "vectors" and self.vectors is None:
                self._refuse_vectors()
        if len(words) != len(codes):
            raise UsageError(f"{len(words)} texts are given for {len(codes)} codes")
        return self._search_words(
            codes, words, k=k, modality=modality, radius=radius, filter=filter, look=look
        )

    @property
    def has_words(self) -> bool:
        """Whether the index can be searched by words now."""
        return False

    def count_distances(
        self,
        codes: Codes,
        *,
        modality: str | None = None,
        filter: Filter | None = None,  # noqa: A002
    ) -> npt.NDArray[np.int64]:
        """Return how many items lie at each distance from a query, int64 (bits + 1,).

        Args:
            codes: one packed query, uint8 (1, ceil(bits/8)).
            modality: whose codes are compared; may be left out where there is only one.
            filter: only items whose payload matches.
        """
        modality = self._checked_search(codes, k=1, modality=modality, radius=None)
        check_filter(filter)
        return self._count_distances(codes, modality, filter)

    def count_values(self, field: str) -> list[tuple[object, int]] | None:
        """Return the values in the lists of a payload field, each with how many items have it.

        None while the field is still to be read: a call takes a moment only, so that searches can
        come in between. Call again.
        """
        del field
        self._refuse("count_values")

    def fields(self) -> Fields:
        """Return the fields of all payloads by name, with the types of their values.

        Kept while the index does not change; at most 1,000 names, `complete` says whether that is
        all.
        """
        self._refuse("fields")

    @property
    def changes(self) -> object:
        """A value that stays equal as long as nothing in the index changes."""
        self._refuse("changes")

    @property
    def vectors(self) -> VectorKind | None:
        """The form of the vectors beside the codes, "int8" or "float"; None where none are kept."""
        return None

    @property
    def superseded(self) -> bool:
        """Whether codes of another model have taken the place of those that were opened."""
        return False

    def items(self, *, batch: int = 10_000) -> Iterator[list[IndexItem]]:
        """Return all items in batches, in the order of their ids.

        Raises:
            UsageError: "batch is 0; it must be at least 1".
        """
        return self._items(check_batch(batch))

    @abstractmethod
    def info(self) -> dict[str, object]:
        """Return kind, counts and settings, for people to read: JSON values only.

        The keys "kind", "bits", "model", "items" and "modalities" (items by modality) are always
        there.
        """

    def verify(self) -> list[str]:
        """Read everything and return the problems found, one sentence each."""
        self._refuse("verify")

    def compact(self) -> None:
        """Rewrite the index without deleted items, which reclaims disk space."""
        self._refuse("compact")

    def snapshot(self, folder: str | os.PathLike[str]) -> int:
        """Write the index as it is now to another folder, and return how many items it has.

        Others may read and write it meanwhile.
        """
        del folder
        self._refuse("snapshot")

    def drop(self) -> None:
        """Remove the index with everything in it, and close it."""
        self._refuse("drop")

    @abstractmethod
    def close(self) -> None:
        """Release files and connections; everything acknowledged is stored already."""

    def __enter__(self) -> Self:
        """Return the index."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the index."""
        self.close()

    def __contains__(self, id: object, /) -> bool:  # noqa: A002
        """Whether something is stored under this id."""
        return can_be_id(id) and self._contains(id)

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @abstractmethod
    def _put(
        self,
        ids: list[str],
        codes: dict[str, Codes],
        payloads: list[dict[str, object]],
        *,
        new: bool,
    ) -> None:
        """Store checked items; with `new`, refuse ids that are stored already."""

    def _put_weighted(
        self,
        ids: list[str],
        codes: dict[str, Codes],
        payloads: list[dict[str, object]],
        weights: dict[str, Weights],
        *,
        new: bool,
    ) -> None:
        """Store checked items and their vectors, where the index keeps any."""
        del ids, codes, payloads, weights, new
        self._refuse_vectors()

    @abstractmethod
    def _delete(self, ids: list[str]) -> int:
        """Remove items by their ids, which are all different."""

    @abstractmethod
    def _get_many(self, ids: list[str]) -> dict[str, IndexItem]:
        """Return the items under those of the ids that exist; the ids are all different."""

    def _contains(self, id_: str) -> bool:
        return id_ in self._get_many([id_])

    @abstractmethod
    def _count(self, modality: str, filter: Filter | None) -> int | None:  # noqa: A002
        """Return how many items a search compares."""

    @abstractmethod
    def _search(
        self,
        codes: Codes,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        """Return the nearest items of each query, ordered by (distance, id)."""

    def _look_again(
        self,
        codes: Codes,
        look: SecondLook,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        """Return the nearest items of each query, ordered by the distance that `look` is by.

        This one fetches the codes of a short-list; an index that has them at hand does better.
        """
        if look.shortlist is None and radius is None:
            raise UsageError(
                f"a {self.kind} index ranks a short-list by asymmetric distance, not all items; "
                "give shortlist a number"
            )
        found = self._search(
            codes, k=look.limit(k), modality=modality, radius=radius, filter=filter
        )
        items = self._get_many(list({hit.id: None for hits in found for hit in hits}))
        return [
            rank_hits(codes[row : row + 1], look.weights[row : row + 1], hits, items, modality)[:k]
            for row, hits in enumerate(found)
        ]

    def _search_words(
        self,
        codes: Codes,
        words: Sequence[WordQuery],
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
        look: SecondLook | None,
    ) -> list[list[Hit]]:
        """Return the items of each query by code and words."""
        del codes, words, k, modality, radius, filter, look
        self._refuse("search_words")

    def _count_distances(
        self,
        query: Codes,
        modality: str,
        filter: Filter | None,  # noqa: A002
    ) -> npt.NDArray[np.int64]:
        """Return how many items lie at distance 0, 1, ..., bits from one query."""
        del query, modality, filter
        self._refuse("count_distances")

    @abstractmethod
    def _items(self, batch: int) -> Iterator[list[IndexItem]]:
        """Return all items in batches, in the order of their ids."""

    def _store(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        payloads: Sequence[Mapping[str, object]] | None,
        weights: Weights | Mapping[str, Weights] | None,
        *,
        new: bool,
    ) -> None:
        items = check_items(ids, codes, payloads, bits=self.bits, modalities=self.modalities)
        if weights is None:
            self._put(*items, new=new)
            return
        if self.vectors is None:
            self._refuse_vectors()
        checked = check_item_weights(weights, items[1], bits=self.bits)
        self._put_weighted(*items, checked, new=new)

    def _refuse_vectors(self) -> NoReturn:
        raise UsageError(
            f"this {self.kind} index keeps no vectors; in an index folder, `proxyhash index "
            "vectors INDEX int8` adds them. Without, a second look is by asymmetric distance"
        )

    def _checked_search(
        self, codes: Codes, *, k: int | None, modality: str | None, radius: int | None
    ) -> str:
        return check_search(
            codes, k=k, modality=modality, radius=radius, bits=self.bits, modalities=self.modalities
        )

    def _refuse(self, capability: str) -> NoReturn:
        having = ", ".join(sorted(self.capabilities))
        raise UsageError(f"a {self.kind} index does not support {capability}; it supports {having}")
