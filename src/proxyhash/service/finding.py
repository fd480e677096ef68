"""Searches whose options have been checked, and what they find; those that are alike go together.

A scan reads all codes for one query as for many, and fetching the items of many hits at once spares
a transaction each. So searches that several requests want at one moment are done as one, where
target, k, radius and filter are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from proxyhash.errors import UsageError, check_option
from proxyhash.index import parse_filter
from proxyhash.index.checks import check_search
from proxyhash.index.filters import matches
from proxyhash.search.searcher import other_modality
from proxyhash.service.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from proxyhash.catalog.thumbnail_store import ThumbnailStore
    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index import Hit, Index, IndexItem
    from proxyhash.index.filters import Filter
    from proxyhash.service.schemas import SearchOptions

__all__ = ["Found", "Search", "find"]


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        hits: the nearest items.
        codes: of the hits, in hex; "" for one that was deleted a moment ago.
        pictured: ids that have a thumbnail, of these hits and of those found together with them.
        searched: how many items were compared, None where the index cannot tell.
    """

    hits: list[Hit]
    codes: list[str]
    pictured: set[str]
    searched: int | None


@dataclass(frozen=True, eq=False)
class Search:
    """A search that can be done.

    Attributes:
        code: packed query, uint8 (ceil(bits/8),).
        target: whose codes are searched.
        k: at most this many hits; None for all within the radius.
        radius: no hit is farther than this many bits, or None.
        filter: only items whose payload matches, or None.
        asker: the item that asks, where its own codes are searched; it is no hit.
        most: hits that an answer has room for.
        kind: the same for searches that can go together.
    """

    code: Codes
    target: Modality
    k: int | None
    radius: int | None
    filter: Filter | None
    asker: IndexItem | None
    most: int
    kind: Hashable

    @classmethod
    def of(
        cls,
        index: Index,
        code: Codes,
        options: SearchOptions,
        *,
        modality: Modality | None,
        item: IndexItem | None,
        most: int,
    ) -> Search:
        """Return the search that a request asks for.

        Args:
            index: what is searched.
            code: packed query, uint8 (ceil(bits/8),).
            options: of the request.
            modality: which side of the model made the code, or None.
            item: the item that asks, or None.
            most: hits that an answer has room for.

        Raises:
            UsageError: an option cannot be used.
        """
        target = _target(index, modality, options.target)
        if options.k is not None and options.k > most:
            raise UsageError(f"k is {options.k}; {most} is the most that this service returns")
        check_search(
            code[None],
            k=options.k,
            modality=target,
            radius=options.radius,
            bits=index.bits,
            modalities=index.modalities,
        )
        filter_ = None if options.filter is None else parse_filter(options.filter)
        asker = item if modality == target else None
        # By its text, for as values 1, 1.0 and true are the same, and filters tell them apart.
        kind = (target, options.k, options.radius, asker is None, repr(options.filter))
        return cls(code, target, options.k, options.radius, filter_, asker, most, kind)


def find(
    index: Index, thumbnails: ThumbnailStore | None, searches: Sequence[Search]
) -> list[Found | Exception]:
    """Return what searches of one kind find, or why one of them cannot be answered."""
    one = searches[0]
    wanted = one.most + 1 if one.k is None else one.k
    found = index.search(
        np.stack([search.code for search in searches]),
        k=wanted + (one.asker is not None),
        modality=one.target,
        radius=one.radius,
        filter=one.filter,
    )
    compared = index.count(one.target, filter=one.filter)
    hits = [_own(search, each) for search, each in zip(searches, found, strict=True)]
    ids = list({hit.id: None for each in hits for hit in each})
    codes = {
        id_: item.codes[one.target].tobytes().hex()
        for id_, item in index.get_many(ids).items()
        if one.target in item.codes
    }
    pictured = thumbnails.present(ids) if thumbnails and ids else set()
    return [
        _found(search, each, codes, pictured, compared)
        for search, each in zip(searches, hits, strict=True)
    ]


def _own(search: Search, hits: list[Hit]) -> list[Hit]:
    """Return the hits without the item that asks."""
    if search.asker is None:
        return hits
    return [hit for hit in hits if hit.id != search.asker.id][: search.k]


def _found(
    search: Search,
    hits: list[Hit],
    codes: dict[str, str],
    pictured: set[str],
    compared: int | None,
) -> Found | Exception:
    if len(hits) > search.most:
        return ApiError(
            422,
            "too_many_hits",
            f"more than {search.most} items are within {search.radius} bits; give k or a smaller "
            "radius",
        )
    asker = search.asker
    if compared and asker and (not search.filter or matches(search.filter, asker.payload)):
        compared -= 1
    return Found(
        hits,
        [codes.get(hit.id, "") for hit in hits],
        pictured,
        compared,
    )


def _target(index: Index, modality: Modality | None, target: Any) -> Modality:
    names = index.modalities
    if target is None:
        wanted = "image" if modality is None else other_modality(modality)
        target = wanted if wanted in names else names[0]
    check_option("target", target, names)
    return cast("Modality", target)
