"""The two steps of every search: queries become codes, and codes find items.

A network takes hardly longer for many inputs than for one, and a scan for many codes. So both steps
take several queries at once: inputs of one modality go through its encoder together, and searches
that ask alike (same target, k, radius and filter) are one search of the index.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.errors import UsageError, check_option
from proxyhash.index.filters import matches
from proxyhash.search.answer import Answer
from proxyhash.search.query import EncodedQuery, TooManyHitsError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index import Hit, Index, IndexItem
    from proxyhash.search.query import Query, SearchOptions
    from proxyhash.search.searcher import Searcher

__all__ = ["Search", "encode", "encode_item", "find", "prepare"]

_MAX_K = 2**31 - 2
"""More hits than any index holds; larger numbers overflow in compiled code."""


def encode(source: Searcher, queries: Sequence[Query]) -> list[EncodedQuery]:
    """Return queries with their codes, in their order.

    Raises:
        NotFoundError: there is no such item.
        NoEncoderError: there is no model, or it has no encoder for a query.
        UsageError: an item lacks the modality; a code is of another length; a vector does not fit.
        DataError: an image cannot be read.
    """
    done: dict[int, EncodedQuery] = {}
    groups: dict[tuple[int, Modality], list[int]] = {}
    for row, query in enumerate(queries):
        if query.item is not None:
            done[row] = encode_item(source, query, source.item(query.item))
        elif query.code is not None:
            done[row] = EncodedQuery(query, query.packed_code(bits=source.index.bits))
        else:
            assert query.modality is not None
            width = 0 if query.vector is None else query.vector.size
            groups.setdefault((width, query.modality), []).append(row)
    for (width, modality), rows in groups.items():
        if width:
            vectors = [queries[row].vector for row in rows]
            features = np.stack([vector for vector in vectors if vector is not None])
            known = np.ones(len(rows), np.bool_)
        else:
            features = source.encoder(modality).encode([queries[row].content for row in rows])
            known = np.asarray(features.any(axis=1))
        codes = source.model.encode_features(features, modality=modality)
        for place, row in enumerate(rows):
            done[row] = EncodedQuery(queries[row], codes[place], known=bool(known[place]))
    return [done[row] for row in range(len(queries))]


def encode_item(source: Searcher, query: Query, item: IndexItem) -> EncodedQuery:
    """Return the query that a stored item is, by the code that `query.modality` names.

    Raises:
        UsageError: it has no such code.
    """
    modality = query.modality
    if modality is None:
        modality = next(name for name in source.index.modalities if name in item.codes)
    if modality not in item.codes:
        has = " and ".join(item.codes)
        raise UsageError(
            f"item {item.id!r:.80} has no {modality!r:.40} code, only {has}; leave modality out"
        )
    return EncodedQuery(
        replace(query, modality=modality),
        item.codes[modality],
        item=item,
        stored=source.holds(item.id),
    )


@dataclass(frozen=True, eq=False)
class Search:
    """A search that is ready to be done.

    Attributes:
        query: what asks.
        target: modality whose codes are searched.
        options: checked.
        asker: the item that asks, where its own codes are searched; it is never a hit.
        most: hits that one answer may hold; None for any number.
        kind: equal for searches that can be done as one.
    """

    query: EncodedQuery
    target: Modality
    options: SearchOptions
    asker: IndexItem | None
    most: int | None
    kind: Hashable


def prepare(
    index: Index, query: EncodedQuery, options: SearchOptions, *, most: int | None = None
) -> Search:
    """Return the search for a query.

    Args:
        index: searched.
        query: with its code.
        options: of the search.
        most: hits that one answer may hold; more are refused, never truncated.

    Raises:
        UsageError: the query means nothing, the index has no such target, or k is above `most`.
    """
    query.check_known()
    target = options.target
    if target is None:
        others = [name for name in index.modalities if name != query.modality]
        target = others[0] if others else index.modalities[0]
    check_option("target", target, index.modalities)
    if most is not None and options.k is not None and options.k > most:
        raise UsageError(f"k is {options.k}; {most} is the most that this service returns")
    asker = query.item if query.stored and query.modality == target else None
    # By its text, for as values 1, 1.0 and true are the same, and filters tell them apart.
    kind = (target, options.k, options.radius, asker is None, most, repr(options.filter))
    return Search(query, target, options, asker, most, kind)


def find(source: Searcher, searches: Sequence[Search]) -> list[Answer | UsageError]:
    """Return the answers to searches of one kind; an error in place of one with too many hits."""
    index, one = source.index, searches[0]
    k, radius, filter_ = one.options.k, one.options.radius, one.options.filter
    limit = k if k is not None or one.most is None else one.most + 1
    found = index.search(
        np.stack([search.query.code for search in searches]),
        k=None if limit is None else min(limit, _MAX_K) + (one.asker is not None),
        modality=one.target,
        radius=None if radius is None else min(radius, index.bits),
        filter=filter_,
    )
    compared = index.count(one.target, filter=filter_)
    hits = [_without_asker(search, each) for search, each in zip(searches, found, strict=True)]
    ids = list({hit.id: None for each in hits for hit in each})
    codes = {
        id_: item.codes[one.target]
        for id_, item in index.get_many(ids).items()
        if one.target in item.codes
    }
    shared = _Shared(codes, source.pictured(ids), compared, index.bits)
    return [_answer(search, each, shared) for search, each in zip(searches, hits, strict=True)]


@dataclass(frozen=True, eq=False)
class _Shared:
    """What answers that were found together share: codes of all their hits by id, and counts."""

    codes: dict[str, Codes]
    pictured: frozenset[str]
    compared: int | None
    bits: int


def _without_asker(search: Search, hits: list[Hit]) -> list[Hit]:
    if search.asker is None:
        return hits
    return [hit for hit in hits if hit.id != search.asker.id][: search.options.k]


def _answer(search: Search, hits: list[Hit], shared: _Shared) -> Answer | UsageError:
    if search.most is not None and len(hits) > search.most:
        return TooManyHitsError(
            f"more than {search.most} items are within {search.options.radius} bits; give k or a "
            "smaller radius"
        )
    asker, filter_, compared = search.asker, search.options.filter, shared.compared
    if compared and asker and (filter_ is None or matches(filter_, asker.payload)):
        compared -= 1
    kept = tuple(hit for hit in hits if hit.id in shared.codes)  # not what was deleted meanwhile
    rows = [shared.codes[hit.id] for hit in kept]
    return Answer(
        query=search.query,
        target=search.target,
        hits=kept,
        codes=np.array(rows, np.uint8).reshape(len(rows), len(search.query.code)),
        searched=compared,
        bits=shared.bits,
        pictured=shared.pictured,
    )
