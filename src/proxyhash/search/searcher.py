"""An index together with the model of its codes: what a search is asked of."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from proxyhash.catalog.catalog import Catalog
from proxyhash.errors import (
    MigratedError,
    ModelError,
    ProxyhashError,
    UsageError,
)
from proxyhash.hashing import model_folder
from proxyhash.index.filters import matches
from proxyhash.index.open import open_index
from proxyhash.index.second_look import SHORTLIST
from proxyhash.index.words import WEIGHT
from proxyhash.search.notes import FilterReader
from proxyhash.search.query import (
    NoEncoderError,
    NotFoundError,
    Query,
    SearchOptions,
    options_of_each,
)
from proxyhash.search.steps import Search, encode, find

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from proxyhash.catalog.thumbnails import StoredThumbnails, ThumbnailStore
    from proxyhash.data import Modality
    from proxyhash.encoders import Encoder
    from proxyhash.hashing import HashModel
    from proxyhash.index import Index, IndexItem
    from proxyhash.index.filters import Filter
    from proxyhash.search.answer import Answer

__all__ = ["Searcher", "search_many"]

_DEFAULT = SearchOptions()


class Searcher:
    """An open index, the model that made its codes, its thumbnails, and a name for messages.

    Args:
        index: searched.
        name: what messages about files call it.
        model: the model, or its run or model folder, loaded at the first use; None where only
            items and codes ask.
        thumbnails: images of the items; the paths in payloads are never opened.
        device: where the model runs.

    Example:
        >>> with Searcher.open("photos.index") as searcher:  # doctest: +SKIP
        ...     for hit in searcher.search_text("two dogs in the snow", k=3).hits:
        ...         print(hit.distance, hit.id)
    """

    def __init__(
        self,
        index: Index,
        *,
        name: str = "the index",
        model: HashModel | Path | str | None = None,
        thumbnails: ThumbnailStore | None = None,
        device: str = "cpu",
    ) -> None:
        self.index = index
        self.name = name
        self.thumbnails = thumbnails
        self.device = device
        self._model = model
        self._folder: Catalog | None = None
        self._opened: tuple[str, Path | None] | None = None
        self._next: Searcher | None = None
        self._changing = Lock()
        self.filter_reader = FilterReader(index)

    @classmethod
    def open(
        cls, uri: str | os.PathLike[str], *, model: Path | None = None, device: str = "cpu"
    ) -> Self:
        """Open an index for reading.

        Args:
            uri: as `open_index` takes it.
            model: run or model folder; default the copy in the index folder, if there is one.
            device: where the model runs, once it is needed.

        Raises:
            DataError: there is no index, or it cannot be read.
        """
        uri = os.fspath(uri)
        pinned: dict[str, Any] = {"pinned": True} if Catalog.at(uri) else {}
        searcher = cls.over(open_index(uri, **pinned), uri, model=model, device=device)
        searcher._opened = uri, model
        return searcher

    @classmethod
    def over(
        cls, index: Index, uri: str, *, model: Path | None = None, device: str = "cpu"
    ) -> Self:
        """Return a searcher of an index that is open already, with what its folder holds."""
        folder = Catalog.at(uri)
        searcher = cls(
            index,
            name=uri,
            model=model or (folder.model_of(index.model) if folder else None),
            thumbnails=folder.thumbnails if folder else None,
            device=device,
        )
        searcher._folder = folder if model is None else None
        return searcher

    @property
    def current(self) -> Searcher:
        """Itself; or, once the index was migrated to another model, a searcher of what is now.

        One that was opened with a model of one's own cannot follow.

        Raises:
            MigratedError: that is so; says what to do.
        """
        if not self.index.superseded or self._opened is None:
            return self
        uri, model = self._opened
        if model is not None:
            raise MigratedError(
                f"{uri} was migrated to another model than {model}; open it again without --model"
            )
        with self._changing:
            if self._next is None:
                self._next = type(self).open(uri, device=self.device)
        return self._next.current

    def renewed(self) -> Searcher | None:
        """Return what answers where this fails because a migration took its model; else None."""
        if (now := self.current) is not self:
            return now
        if self._folder is None or not isinstance(self._model, Path) or self._model.exists():
            return None
        found = self._folder.model_of(self.index.model)  # another name, at a migration's end
        if found is None or found == self._model:
            return None
        vars(self).pop("model", None)
        self._model = found
        return self

    @property
    def has_model(self) -> bool:
        """Whether there is a model to encode queries with."""
        return self._model is not None

    @cached_property
    def model(self) -> HashModel:
        """The model, loaded at the first use.

        Raises:
            NoEncoderError: there is none.
            ModelError: it is not the model that made the codes of the index.
        """
        if self._model is None:
            raise NoEncoderError(
                "the index has no model, so texts and images cannot be encoded; give the model "
                "that made its codes with --model RUN"
            )
        return self._load(self._model)

    def encoder(self, modality: Modality) -> Encoder:
        """Return the model's encoder of a modality.

        Raises:
            NoEncoderError: it has none.
        """
        found = self.model.encoder(modality)
        if found is None:
            has = " and ".join(self.encoders) or "none"
            raise NoEncoderError(
                f"the model has no {modality} encoder, so it cannot be searched with one; "
                f"its encoders: {has}"
            )
        return found

    @property
    def encoders(self) -> Mapping[Modality, Encoder]:
        """The model's encoders by modality."""
        model = self.model
        found = {name: model.encoder(name) for name in model.modalities}
        return {name: encoder for name, encoder in found.items() if encoder is not None}

    @property
    def stored_images(self) -> StoredThumbnails | None:
        """The thumbnails that a page shows; None for the paths that items name."""
        return {} if self.thumbnails is None else self.thumbnails

    def item(self, id: str) -> IndexItem:  # noqa: A002 -- the index's word
        """Return a stored item.

        Raises:
            NotFoundError: "no item 'x' in the index".
        """
        try:
            return self.index.get(id)
        except UsageError as error:
            raise NotFoundError(f"no item {id!r:.80} in the index") from error

    def holds(self, id: str) -> bool:  # noqa: A002
        """Whether an item that `item` returned is in the index."""
        del id
        return True

    def with_thumbnail(self, ids: Sequence[str]) -> frozenset[str]:
        """Return those of the ids that have a stored thumbnail."""
        if self.thumbnails is None or not ids:
            return frozenset()
        return frozenset(self.thumbnails.present(ids))

    def count_distances(
        self,
        answer: Answer,
        *,
        filter: Filter | None = None,  # noqa: A002
    ) -> list[int]:
        """Return how many of the items compared lie at distance 0, 1, ..., bits of the query.

        The sum up to the last hit's distance says how many items are as near as that one, whether
        or not they are among the hits: ties at the end are cut by id.

        Args:
            answer: to the query.
            filter: that the answer was found with.

        Returns:
            bits + 1 counts, without the item that asks; empty where the index cannot count them.
        """
        if self._next is not None and answer.model not in ("", self.index.model):
            return self._next.count_distances(answer, filter=filter)
        if not self.index.supports("count_distances"):
            return []
        query = answer.query
        counts: list[int] = self.index.count_distances(
            query.code[None], modality=answer.target, filter=filter
        ).tolist()
        if query.stored and query.item is not None and query.modality == answer.target:
            counts[0] -= filter is None or matches(filter, query.item.payload)
        return counts

    def count_ties(
        self,
        answer: Answer,
        *,
        filter: Filter | None = None,  # noqa: A002
    ) -> Answer:
        """Return an answer that knows how many items are at most as far as its last hit.

        That takes another scan of the codes; only where `k` cuts can there be more than hits.

        Args:
            answer: found with `filter`.
            filter: as in `search`.
        """
        if answer.rerank is not None or answer.mode != "codes":  # the last is not the farthest
            return answer
        counts = self.count_distances(answer, filter=filter) if answer.hits else []
        within = sum(counts[: answer.hits[-1].distance + 1]) if counts else None
        return replace(answer, within=within)

    def search(
        self,
        query: Query | str,
        *,
        k: int | None = 12,
        target: Modality | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002
        rerank: str | None = None,
        shortlist: int | None = SHORTLIST,
        mode: str | None = None,
        words_weight: float = WEIGHT,
    ) -> Answer:
        """Return the items nearest to a query; a string is a text.

        An item is not a hit of its own code: in the same modality it is left out.

        Args:
            query: what is searched for.
            k: at most this many hits; None for all within the radius.
            target: modality whose codes are searched; default one other than the query's, where
                the index has one.
            radius: no hit is farther than this, in bits.
            filter: only items whose payload matches.
            rerank: "asymmetric" or "vectors" orders hits by that distance; see `SearchOptions`.
            shortlist: how many of the nearest are ordered so; None for all.
            mode: "codes", "words" or "both", as `SearchOptions` has it.
            words_weight: share of the words in the order, from 0 to 1.

        Raises:
            UsageError: the query or an option cannot be used; the message says why.
            DataError: an image cannot be read.
        """
        query = Query(text=query) if isinstance(query, str) else query
        options = SearchOptions(
            target, k, radius, filter, rerank, shortlist, mode=mode, words_weight=words_weight
        )
        return search_many(self, [query], options)[0]

    def search_text(self, text: str, **options: Any) -> Answer:
        """Return the items nearest to a text; options as in `search`."""
        return self.search(Query(text=text), **options)

    def search_image(self, image: str | Path | bytes, **options: Any) -> Answer:
        """Return the items nearest to an image file; options as in `search`."""
        return self.search(Query(image=image), **options)

    def search_id(self, id: str, **options: Any) -> Answer:  # noqa: A002
        """Return the items nearest to a stored one, by its code; options as in `search`."""
        return self.search(Query(item=id), **options)

    def close(self) -> None:
        """Close the index."""
        if self._next is not None:
            self._next.close()
        self.index.close()

    def __enter__(self) -> Self:
        """Return the searcher."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the index."""
        self.close()

    def _load(self, given: HashModel | Path | str) -> HashModel:
        from proxyhash.hashing import HashModel

        model, name = given, "the model given"
        if isinstance(model, (str, Path)):
            name = str(model_folder(Path(model)))
            model = HashModel.load(name, device=self.device)
        if self.index.model not in ("", model.fingerprint) or self.index.bits != model.bits:
            raise ModelError(
                f"{name} is not the model that made the codes of {self.name}, so their distances "
                "mean nothing; give the model that the index was built with, or `proxyhash index "
                f"migrate {self.name} MODEL` encodes it with another one"
            )
        return model


def search_many(
    source: Searcher | Index,
    queries: Iterable[Query],
    options: SearchOptions | Sequence[SearchOptions] = _DEFAULT,
) -> list[Answer]:
    """Return the answers to several queries, in their order.

    Inputs of one modality are encoded together, and searches with the same options are done as one.

    Args:
        source: what is searched; a bare index for queries that need no model.
        queries: what is searched for.
        options: the same for all queries, or one for each.

    Raises:
        UsageError: a query or an option cannot be used; the first one that cannot ends the search.
        DataError: an image cannot be read.
    """
    source = source.current if isinstance(source, Searcher) else Searcher(source)
    asked = list(queries)
    for query in asked:
        if not isinstance(query, Query):
            raise UsageError(
                f"a query is {query!r:.40}; make each with proxyhash.Query, such as "
                'Query(text="two dogs")'
            )
    try:
        return _answers(source, asked, options)
    except (ProxyhashError, OSError):
        if (now := source.renewed()) is None:
            raise
        return _answers(now, asked, options)


def _answers(
    source: Searcher, asked: Sequence[Query], options: SearchOptions | Sequence[SearchOptions]
) -> list[Answer]:
    encoded = encode(source, asked)
    each = options_of_each(options, len(encoded))
    searches = [Search(query, own) for query, own in zip(encoded, each, strict=True)]
    groups: dict[Hashable, list[int]] = {}
    for row, search in enumerate(searches):
        groups.setdefault(search.kind, []).append(row)
    answers: dict[int, Answer] = {}
    for alike in groups.values():
        for row, found in zip(alike, find(source, [searches[row] for row in alike]), strict=True):
            if isinstance(found, UsageError):
                raise found
            answers[row] = found
    return [answers[row] for row in range(len(searches))]
