"""The two steps of every search: queries become codes, and codes find items.

A network takes hardly longer for many inputs than for one, and a scan for many codes. So both steps
take several queries at once: inputs of one modality go through its encoder together, and searches
that ask alike (same target, k, radius and filter) are one search of the index.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes.asymmetric import ONE
from proxyhash.data import MODALITIES
from proxyhash.encoders.base import in_role
from proxyhash.errors import DataError, MigratedError, UsageError, check_option
from proxyhash.index.filters import matches
from proxyhash.index.second_look import SecondLook
from proxyhash.index.words import WordQuery, split_words
from proxyhash.search.answer import Answer
from proxyhash.search.notes import Note, read_words
from proxyhash.search.query import EncodedQuery, RefusedError, TooManyHitsError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index import Hit, Index, IndexItem
    from proxyhash.search.notes import WordsOfText
    from proxyhash.search.query import Query, SearchOptions
    from proxyhash.search.searcher import Searcher

__all__ = ["Search", "encode", "encode_item", "find"]

logger = logging.getLogger(__name__)

_WITHOUT_WORDS = Note(
    "no_words",
    "found by codes alone, for the word index cannot be read; `proxyhash index words` makes it "
    "again",
)

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
            if query.modality is not None:
                check_option("modality", query.modality, {*MODALITIES, *source.index.modalities})
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
            words: list[WordsOfText | None] = [None] * len(rows)
        else:
            encoder = in_role(source.encoder(modality), "query")
            contents = [queries[row].content for row in rows]
            features = encoder.encode(contents)
            known = np.asarray(features.any(axis=1))
            words = [read_words(encoder, content) for content in contents]
        codes = source.model.encode_features(features, modality=modality)
        for place, row in enumerate(rows):
            done[row] = EncodedQuery(
                queries[row],
                codes[place],
                known=bool(known[place]),
                words=words[place],
                features=features[place],
            )
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
    """A search to do, with its code known.

    Attributes:
        query: what asks.
        options: of the search.
        most: hits that one answer may hold, more are refused; None for any number.
    """

    query: EncodedQuery
    options: SearchOptions
    most: int | None = None

    @cached_property
    def kind(self) -> Hashable:
        """Equal for searches that can be done as one."""
        own, target = self.query.modality, self.options.target
        # The filter by its text, for as values 1, 1.0 and true are the same, and filters tell them
        # apart.
        return (
            target or ("other than", own),
            self.options.k,
            self.options.radius,
            self.query.stored and target in (None, own),
            self.most,
            repr(self.options.filter),
            self.options.rerank,
            self.options.rerank and self.options.shortlist,
            self.query.query.text is not None,
            self.options.mode,
            self.options.words_weight,
        )

    def target(self, index: Index) -> Modality:
        """Return the modality whose codes are searched.

        Raises:
            UsageError: the index has no such target or keeps no vectors to rank by, or k is above
                `most`.
        """
        k, target = self.options.k, self.options.target
        if target is None:
            others = [name for name in index.modalities if name != self.query.modality]
            target = others[0] if others else index.modalities[0]
        check_option("target", target, index.modalities)
        if self.most is not None and k is not None and k > self.most:
            raise UsageError(f"k is {k}; {self.most} is the most that this service returns")
        if self.options.rerank == "vectors" and index.vectors is None:
            raise UsageError(
                "the index keeps no vectors to rank by; `proxyhash index vectors "
                "INDEX int8` adds them to an index folder, and rerank asymmetric needs none"
            )
        return target

    def words(self, mode: str) -> WordQuery:
        """Return the words of a text; where its code means nothing, they alone count."""
        alone = mode == "words" or not self.query.known
        weight = 1.0 if alone else self.options.words_weight
        notes = () if self.query.words is None else self.query.words.notes
        unknown = [note.subject for note in notes]
        return WordQuery.of(self.query.query.text or "", weight=weight, unknown=unknown)

    def mode(self, source: Searcher) -> str:
        """Return what items are found by: "codes", "words" or "both".

        Raises:
            UsageError: it cannot be searched so, or its code means nothing.
        """
        mode, index = self.options.mode, source.index
        if self.query.query.text is None:
            if mode == "words":
                raise UsageError(
                    f"mode is words, but the query is by {self.query.query.kind}, and only a text "
                    "has words to search by; leave mode out"
                )
            mode = "codes"
        elif mode is None:
            mode = "both" if index.has_words else "codes"
        elif mode != "codes" and not index.has_words:
            raise UsageError(f"mode is {mode}, but {_why_no_words(source)}")
        if mode == "codes":
            self.query.check_known()
        return mode


def find(source: Searcher, searches: Sequence[Search]) -> list[Answer | UsageError]:
    """Return the answers to searches of one kind; an error in place of what cannot be searched.

    Raises:
        ProxyhashError: the index cannot be read.
    """
    done: dict[int, Answer | UsageError] = {}
    ready: dict[tuple[Modality, str], list[int]] = {}
    for row, search in enumerate(searches):
        try:
            how = search.target(source.index), search.mode(source)
            ready.setdefault(how, []).append(row)
        except UsageError as error:
            done[row] = RefusedError.of(error)
    for (target, mode), rows in ready.items():
        found = _find(source, [searches[row] for row in rows], target, mode)
        done.update(zip(rows, found, strict=True))
    return [done[row] for row in range(len(searches))]


def _find(
    source: Searcher, searches: Sequence[Search], target: Modality, mode: str
) -> list[Answer | UsageError]:
    """Return the answers to searches of one kind, target and mode, by one search of the index."""
    index, one = source.index, searches[0]
    k, radius, filter_ = one.options.k, one.options.radius, one.options.filter
    limit = k if k is not None or one.most is None else one.most + 1
    asks_itself = one.query.stored and one.query.modality == target
    codes = np.stack([search.query.code for search in searches])
    options: dict[str, Any] = {
        "k": None if limit is None else min(limit, _MAX_K) + asks_itself,
        "modality": target,
        "radius": None if radius is None else min(radius, index.bits),
        "filter": filter_,
        "look": _second_look(source, searches),
    }
    notes: tuple[Note, ...] = ()
    if mode == "codes":
        found = index.search(codes, **options)
    else:
        words = [search.words(mode) for search in searches]
        try:
            found = index.search_words(codes, words, **options)
        except DataError as error:
            if one.options.mode is not None or isinstance(error, MigratedError):
                raise
            logger.warning("texts are searched by codes alone: %s", error)
            mode, notes = "codes", (_WITHOUT_WORDS,)
            found = index.search(codes, **options)
    compared, notes = (
        index.count(target, filter=filter_),
        (notes + source.filter_reader.read(filter_)),
    )
    shared = _Shared(target, index.bits, index.model, compared, notes, mode)
    if asks_itself:  # an item is never a hit of its own code
        found = [
            [hit for hit in hits if hit.id != search.query.id][: search.options.k]
            for search, hits in zip(searches, found, strict=True)
        ]
    ids = list({hit.id: None for hits in found for hit in hits})
    shared.codes.update(
        (id_, item.codes[target])
        for id_, item in index.get_many(ids).items()
        if target in item.codes
    )
    shared.with_thumbnail.update(source.with_thumbnail(ids))
    return [_answer(search, hits, shared) for search, hits in zip(searches, found, strict=True)]


def _second_look(source: Searcher, searches: Sequence[Search]) -> SecondLook | None:
    """Return how sure searches of one kind are of their bits, where they rank by that."""
    options = searches[0].options
    if options.rerank is None:
        return None
    weights = np.full((len(searches), source.index.bits), ONE, np.uint16)
    rows: dict[Modality, list[int]] = {}
    for row, search in enumerate(searches):
        if search.query.features is not None and search.query.modality is not None:
            rows.setdefault(search.query.modality, []).append(row)
        elif options.rerank == "vectors" and search.query.item is not None:
            own = search.query.item.weights.get(search.query.modality or "")
            weights[row] = weights[row] if own is None else own
    for modality, some in rows.items():
        features = np.stack([np.asarray(searches[row].query.features) for row in some])
        weights[some] = source.model.query_weights(features, modality=modality)
    return SecondLook(weights, options.shortlist, options.rerank)


@dataclass(frozen=True, eq=False)
class _Shared:
    """The parts that answers found together share.

    Attributes:
        target: modality searched.
        bits: the code length.
        model: fingerprint of the model that made the codes.
        compared: number of items that the filter passes, None where it is unknown.
        notes: on the filter, and on the index.
        mode: what the hits were found by.
        codes: of all hits, by id; what was deleted meanwhile has none.
        with_thumbnail: ids of hits with a thumbnail.
    """

    target: Modality
    bits: int
    model: str
    compared: int | None
    notes: tuple[Note, ...] = ()
    mode: str = "codes"
    codes: dict[str, Codes] = field(default_factory=dict)
    with_thumbnail: set[str] = field(default_factory=set)


def _answer(search: Search, hits: list[Hit], shared: _Shared) -> Answer | UsageError:
    if search.most is not None and len(hits) > search.most:
        return TooManyHitsError(
            f"more than {search.most} items are within {search.options.radius} bits; give k or a "
            "smaller radius"
        )
    query, filter_, compared = search.query, search.options.filter, shared.compared
    if (not hits and shared.mode != "words") or shared.mode == "codes":
        try:
            query.check_known()
        except UsageError as error:
            return RefusedError.of(error)
    if compared and query.item and query.stored and query.modality == shared.target:
        compared -= filter_ is None or matches(filter_, query.item.payload)
    kept = tuple(hit for hit in hits if hit.id in shared.codes)  # not what was deleted meanwhile
    rows = [shared.codes[hit.id] for hit in kept]
    return Answer(
        query=query,
        target=shared.target,
        hits=kept,
        codes=np.array(rows, np.uint8).reshape(len(rows), len(query.code)),
        searched=compared,
        bits=shared.bits,
        with_thumbnail=frozenset(shared.with_thumbnail),
        words=None if query.words is None or shared.mode == "words" else query.words.known,
        notes=(*_notes_on_words(search, kept), *shared.notes),
        model=shared.model,
        rerank=search.options.rerank,
        mode=shared.mode,
    )


def _notes_on_words(search: Search, hits: Sequence[Hit]) -> list[Note]:
    """Return the notes on words that the model does not know and that no hit was found by."""
    if search.options.mode == "words":
        return []
    query = search.query
    found = {word for hit in hits for term in hit.matched for word in split_words(term)}
    return [
        note
        for note in (() if query.words is None else query.words.notes)
        if not found or not found.issuperset(split_words(note.subject))
    ]


def _why_no_words(source: Searcher) -> str:
    """Return why an index has no words to search by, and what to do; a clause."""
    index, name = source.index, shlex.quote(source.name)
    if index.supports("search_words"):
        return f"{source.name} has no word index; `proxyhash index words {name}` makes one"
    if index.kind == "memory":
        return (
            f"{source.name} is searched by codes alone; `proxyhash index build` and `proxyhash "
            "index words` make an index that has words"
        )
    return (
        f"a {index.kind} index has no word index; a folder has: `proxyhash index copy {name} "
        "FOLDER`, then `proxyhash index words FOLDER`"
    )
