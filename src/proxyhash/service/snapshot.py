"""One state of the served index: the index with its model, worker threads, and who uses it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import product, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from proxyhash.catalog.catalog import Catalog
from proxyhash.codes import code_bytes, distances, pack
from proxyhash.errors import MigratedError, ProxyhashError
from proxyhash.index.filters import Contains
from proxyhash.index.second_look import RERANKINGS
from proxyhash.search import Answer, EncodedQuery, Query, Searcher, SearchOptions
from proxyhash.search.steps import Search, encode, find
from proxyhash.service.labels import Labels
from proxyhash.service.queues import Queues

if TYPE_CHECKING:
    from proxyhash.catalog.thumbnails import ThumbnailStore
    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.hashing import HashModel
    from proxyhash.index import Index, IndexItem
    from proxyhash.service.monitoring import Metrics
    from proxyhash.service.settings import Limits, Settings

__all__ = ["Snapshot"]

_ATTEMPTS = 3
_HITS = 12
_SPREAD = 8
"""Items near each random code of a sample, so that items of the same code take turns."""

_WARM_UP: dict[Modality, Any] = {"text": "warm up", "image": Image.new("RGB", (8, 8))}
"""Something small to encode before the first request."""


class Snapshot:
    """A searcher, the queues in front of it, and the number of requests that use it.

    Made in a thread of its own; everything else is called in the event loop.

    Args:
        source: what is searched; its index is closed with the snapshot unless `keep_index` is set.
        limits: of the service.
        metrics: of the service.
        place: equal for snapshots of the same index folder; None elsewhere.

    Attributes:
        encoders: names of the encoders by modality.
        queues: where requests ask.
        proxies: packed codes of the model's classes, uint8 (C, ceil(bits/8)); None without.
        users: number of requests at work on it.
        keep_index: whether another snapshot has taken the index over.
    """

    def __init__(
        self, source: Searcher, *, limits: Limits, metrics: Metrics, place: object = None
    ) -> None:
        self.source = source
        self.index: Index = source.index
        self.model: HashModel | None = source.model if source.has_model else None
        self.thumbnails: ThumbnailStore | None = source.thumbnails
        self.place = place
        self.users = 0
        self.keep_index = False
        self.proxies: Codes | None = None
        if self.model is not None and self.model.proxies is not None:
            self.proxies = pack(self.model.proxies.codes > 0)
        self.labels = Labels(self.index)
        self.encoders = {
            name: encoder.kind
            for name, encoder in (source.encoders if source.has_model else {}).items()
        }
        self.queues = Queues(source, self.encoders, limits=limits, metrics=metrics)

    @classmethod
    def open(cls, settings: Settings, *, metrics: Metrics, old: Snapshot | None = None) -> Snapshot:
        """Open the index and load the model.

        An index folder has one writer at a time, so where the folder is still the same, the index
        that `old` has open is taken over.

        Raises:
            ModelError: the model is not the one that made the codes of the index.
            DataError: there is no index, or it cannot be read.
            ProxyhashError: another process is writing it.
        """
        for _ in range(_ATTEMPTS - 1):
            with suppress(MigratedError):
                return cls._open(settings, metrics=metrics, old=old)
        return cls._open(settings, metrics=metrics, old=old)

    @classmethod
    def _open(cls, settings: Settings, *, metrics: Metrics, old: Snapshot | None) -> Snapshot:
        from proxyhash.index.open import open_index

        place, folder = _place(settings.index), Catalog.at(settings.index)
        reuse = (
            old is not None
            and settings.write
            and place is not None
            and place == old.place
            and not old.index.superseded
        )
        # When the index is migrated, requests under way finish on the codes that they began with.
        options: dict[str, Any] = {"pinned": True} if folder else {}
        if settings.engine is not None:
            options["engine"] = settings.engine
        index = (
            old.index
            if reuse and old
            else open_index(settings.index, write=settings.write, **options)
        )
        try:
            model = settings.model
            if old is not None and old.index.model != index.model and folder:
                model = folder.model_of(index.model) or model  # the one given is of the old codes
            source = Searcher.over(index, settings.index, model=model, device=settings.device)
            snapshot = cls(source, limits=settings.limits, metrics=metrics, place=place)
            snapshot.warm_up()
        except BaseException as error:
            superseded = index.superseded
            if not reuse:
                index.close()
            if superseded and isinstance(error, ProxyhashError | OSError):
                raise MigratedError(str(error)) from error
            raise
        if reuse and old:
            old.keep_index = True
        return snapshot

    async def close(self) -> None:
        """Finish what is under way and close the index."""
        await self.queues.close()
        await self.labels.close()
        if not self.keep_index:
            await asyncio.to_thread(self.index.close)

    def warm_up(self) -> None:
        """Do once what requests ask for most, so that the first need not wait."""
        for name in self.encoders:
            if name in _WARM_UP:
                encode(self.source, [Query.of(name, _WARM_UP[name])])
        nothing = np.zeros(code_bytes(self.index.bits), np.uint8)
        query = EncodedQuery(Query(code=nothing), nothing)
        label: str | None = None
        for modality, filtered in product(self.index.modalities, (False, True)):
            if filtered and (label is None or not self.index.supports("count_values")):
                continue  # elsewhere, what is filtered is not read into this process
            chosen = Contains("labels", label) if filtered and label else None
            options = SearchOptions(target=modality, k=_HITS, filter=chosen)
            if not filtered:  # kernels are compiled at their first call
                for rerank in RERANKINGS if self.index.vectors else RERANKINGS[:1]:
                    second = replace(options, rerank=rerank, shortlist=_HITS)
                    find(self.source, [Search(query, second)])
            for answer in find(self.source, [Search(query, options)]):
                if isinstance(answer, Answer):
                    label = label or _first_label(answer)
                    self.explain(answer, options)

    def explain(self, answer: Answer, options: SearchOptions) -> dict[str, Any]:
        """Return the distances of everything that was compared, and the nearest proxies.

        Runs in a thread. The histogram is the number of codes at distance 0, 1, ..., bits; empty
        where the index cannot count them.
        """
        code = answer.query.code
        histogram = self.source.count_distances(answer, filter=options.filter)
        # By another distance or by words the last hit is not the farthest: nothing is cut off.
        by_distance = not answer.rerank and answer.mode == "codes"
        cut = answer.hits[-1].distance if answer.hits and by_distance else None
        return {
            "histogram": histogram,
            "cut": cut,
            "within": sum(histogram[: cut + 1]) if histogram and cut is not None else None,
            "proxies": self._nearest_proxies(code),
        }

    def sample(self, count: int, *, seed: int) -> tuple[Modality, list[IndexItem], frozenset[str]]:
        """Return items from all over the index; runs in a thread.

        They are the items nearest to random codes, which any index finds quickly however large it
        is. Images that have a thumbnail are taken before texts.

        Returns:
            the modality that they are shown by, at most `count` items, and the ids of those with a
            thumbnail.
        """
        random = np.random.default_rng(seed)
        codes = pack(random.integers(0, 2, (count, self.index.bits)).astype(np.bool_))
        target, ids = self.index.modalities[0], list[str]()
        shown: frozenset[str] = frozenset()
        for modality in sorted(self.index.modalities, key=lambda name: name != "image"):
            near: dict[str, None] = {}
            for k in (_SPREAD, count):  # codes that share their neighbors are few in a small index
                if len(near) < count:
                    found = self.index.search(codes, k=k, modality=modality)
                    near = dict.fromkeys(
                        hit.id for rank in zip_longest(*found) for hit in rank if hit
                    )
            if not near:
                continue
            target, ids = modality, list(near)
            shown = self.source.with_thumbnail(ids)
            if shown:
                ids = [id_ for id_ in ids if id_ in shown]
                break
        items = self.index.get_many(ids[:count])
        return target, [items[id_] for id_ in ids[:count] if id_ in items], shown

    def _nearest_proxies(self, code: Codes, *, most: int = 12) -> list[dict[str, Any]]:
        """Return the classes whose proxies are nearest to a code; ties in alphabetical order."""
        if self.proxies is None or self.model is None:
            return []
        found = distances(code[None], self.proxies)[0].tolist()
        pairs = sorted(zip(found, self.model.classes, strict=True))[:most]
        return [{"label": label, "distance": distance} for distance, label in pairs]


def _first_label(answer: Answer) -> str | None:
    for hit in answer.hits:
        labels = hit.payload.get("labels")
        if isinstance(labels, list) and labels and isinstance(labels[0], str):
            return labels[0]
    return None


def _place(uri: str) -> object:
    """Return what stays the same as long as an index folder is the same one, None elsewhere."""
    try:
        folder = Path(uri).stat()
    except OSError:
        return None
    return folder.st_dev, folder.st_ino
