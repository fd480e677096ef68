"""From a manifest to the items of an index, batch by batch."""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from proxyhash.catalog.batch import Batch, IndexReport, presence_of
from proxyhash.catalog.item_keys import key_of_source
from proxyhash.catalog.thumbnails import jpeg_thumbnail
from proxyhash.data import Collection
from proxyhash.encoders.batches import worker_threads
from proxyhash.errors import DataError, InterruptedRunError, ProxyhashError
from proxyhash.payload import copy_json
from proxyhash.progress import Track, silent
from proxyhash.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from proxyhash.catalog.item_keys import ItemKeys
    from proxyhash.catalog.thumbnails import ThumbnailStore
    from proxyhash.codes import CodeFile, Codes, Weights
    from proxyhash.data import Item
    from proxyhash.encoders import FeatureCache
    from proxyhash.hashing import HashModel
    from proxyhash.index import Index

__all__ = [
    "BATCH",
    "THUMBNAIL_EDGE",
    "IndexReport",
    "Put",
    "ingest_collection",
    "item_payload",
    "put_codes",
]

logger = logging.getLogger(__name__)

BATCH = 512
"""Items that are encoded and stored together; Ctrl-C loses at most as many."""

THUMBNAIL_EDGE = 256
"""Longest side of a stored thumbnail in pixels; as JPEG some 5 to 25 kB."""

_FIRST = 32  # items of the first batch; the following ones grow while they take a moment only
_SECONDS = 2.0

_NAMED = 5  # refused items listed in the warning; the rest are counted

_ALWAYS = ("text", "image")
"""Keys that every payload has, null where an item lacks them."""


def ingest_collection(
    index: Index,
    model: HashModel,
    collection: Collection,
    *,
    thumbnails: ThumbnailStore | None = None,
    new_thumbnails: bool = True,
    keys: ItemKeys | None = None,
    cache: FeatureCache | None = None,
    on_bad_item: str = "fail",
    track: Track = silent,
    batch: int | None = None,
) -> IndexReport:
    """Encode the items of a collection and store them; unchanged ones are not written.

    A payload has `text`, `image` (the path as the manifest has it) and `labels`, and every other
    key of the manifest. Takes the memory of one batch beside the index and the manifest.

    What cannot be read is not what is not there: of an item whose image is named but unreadable,
    the stored code and thumbnail of the image stay, and everything that was read is updated.

    Args:
        index: open for writing, of this model.
        model: makes the codes.
        collection: the items.
        thumbnails: where small images go, or None for none.
        new_thumbnails: whether any are made; without, those of changed items are removed.
        keys: where it is recorded what the items were made from, or None for nowhere.
        cache: of features.
        on_bad_item: "fail" at an item that cannot be read or stored, or "skip": go on without
            what cannot be read, and count and name the items.
        track: progress callback.
        batch: items that are stored together; default up to `BATCH`.

    Raises:
        InterruptedRunError: Ctrl-C; says how to continue.
        ImageError: an image cannot be read.
        DataError: a payload is not JSON; earlier batches are stored.
    """
    report = IndexReport(skipped=collection.skipped)
    work = _Work(index, model, thumbnails, new_thumbnails, keys, cache, on_bad_item)

    def stored() -> Iterator[Item]:
        nonlocal report
        size, start = batch or _FIRST, 0
        while items := collection.items[start : start + size]:
            began = time.monotonic()
            some = Collection.of(collection.path, items)
            report += work.store(some, part_of=(start, len(collection)))
            yield from items  # an item counts as done once it is stored
            start += size
            if batch is None and time.monotonic() - began < _SECONDS:  # else progress is jerky
                size = min(2 * size, BATCH)

    try:
        deque(track(stored(), "indexing items", len(collection)), maxlen=0)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"stopped by Ctrl-C; {report.stored:,} of {len(collection):,} items are stored: "
            "`proxyhash index add` with the same manifest continues from there"
        ) from None
    return report


@dataclass
class _Work:
    """Encodes and stores one batch after the other."""

    index: Index
    model: HashModel
    thumbnails: ThumbnailStore | None
    new_thumbnails: bool
    keys: ItemKeys | None
    cache: FeatureCache | None
    on_bad_item: str

    def store(self, collection: Collection, *, part_of: tuple[int, int]) -> IndexReport:
        sources = self._source_keys(collection)
        batch = Batch(
            collection,
            codes=self.model.encode_collection(
                collection,
                cache=self.cache,
                on_bad_item=self.on_bad_item,
                weigh=self.index.vectors is not None,
                part_of=part_of,
            ),
            before=self.index.get_many(collection.ids),
        )
        self._read_payloads(batch)
        made: dict[str, bytes] = {}
        try:
            made = self._make_thumbnails(batch)
        except ProxyhashError as error:  # items are stored without them
            self.thumbnails = None
            logger.warning("no more thumbnails are stored: %s", error)
        self._put(batch, np.flatnonzero(batch.coded & ~batch.same))
        if self.keys is not None:
            self.keys.put(batch.keys(sources))
        if batch.refused:
            logger.warning(
                "%d items cannot be stored; of those that are in the index already, everything "
                "stays as it is:\n%s",
                len(batch.refused),
                "\n".join(list(batch.refused.values())[:_NAMED])
                + ("\n..." if len(batch.refused) > _NAMED else ""),
            )
        return batch.report(skip=self.on_bad_item == "skip") + IndexReport(
            thumbnails=len(made), thumbnail_bytes=sum(map(len, made.values()))
        )

    def _source_keys(self, collection: Collection) -> dict[str, bytes]:
        """Return what the items are made from, as it is before they are encoded."""
        found: dict[str, bytes] = {}
        for row, item in enumerate(collection.items if self.keys is not None else ()):
            with suppress(DataError):  # said when the payloads are read
                key = key_of_source(item_payload(item, collection), collection, row)
                if key is not None:
                    found[item.id] = key
        return found

    def _read_payloads(self, batch: Batch) -> None:
        for row, item in enumerate(batch.collection.items):
            try:
                batch.payloads[row] = item_payload(item, batch.collection)
            except DataError as error:
                if self.on_bad_item == "fail":
                    raise
                batch.refused[row] = str(error)
        batch.compare()

    def _put(self, batch: Batch, rows: npt.NDArray[np.int64]) -> None:
        """Store rows; where the index refuses one of them, the others are stored all the same."""
        if not len(rows):
            return
        try:
            put_codes(self.index.upsert, batch.codes, rows, payload_of=batch.payloads.__getitem__)
        except DataError as error:
            if self.on_bad_item == "fail":
                raise
            if len(rows) == 1:
                batch.refused[int(rows[0])] = f"{batch.place(int(rows[0]))}: {error}"
                return
            for half in np.array_split(rows, 2):
                self._put(batch, half)
            if all(int(row) in batch.refused for row in rows):  # no row's fault: a damaged index
                raise

    def _make_thumbnails(self, batch: Batch) -> dict[str, bytes]:
        """Store thumbnails before their items, so that these are complete, and return them.

        The thumbnail of an image that cannot be read stays.
        """
        if self.thumbnails is None:
            return {}
        ids, images = batch.collection.ids, batch.collection.sources("image")
        present = self.thumbnails.present(ids, sound=True)
        rows = [
            row
            for row in np.flatnonzero(batch.coded).tolist()
            if not batch.same[row] or ids[row] not in present
        ]
        if not self.new_thumbnails:
            readable = [row for row in rows if not batch.filled[row] and not batch.same[row]]
            self.thumbnails.delete([ids[row] for row in readable if ids[row] in present])
            return {}
        sources = (images[row] for row in rows)
        with map_in_threads(_thumbnail, sources, worker_threads()) as made_in_threads:
            thumbnails = list(made_in_threads)
        made = {ids[row]: jpeg for row, jpeg in zip(rows, thumbnails, strict=True) if jpeg}
        gone = [ids[row] for row in rows if images[row] is None and ids[row] in present]
        self.thumbnails.put(made)
        self.thumbnails.delete(gone)
        return made


def item_payload(item: Item, collection: Collection) -> dict[str, object]:
    """Return what hits have of an item: further keys, sources as in the manifest, and labels.

    Raises:
        DataError: a further key has a value that cannot be stored; names file, row, item and key.
    """
    value: dict[str, Any] = {
        **item.payload,
        **dict.fromkeys(_ALWAYS),
        **item.sources,
        "labels": list(item.labels),
    }
    place = f"{collection.path}, row {item.row}, item {item.id!r}: the payload"
    try:
        copied = copy_json(value, place=place)
    except DataError as error:
        field = next((key for key in value if not _can_be_stored({key: value[key]})), "")
        raise DataError(
            f"{error} (field {field!a}); change it in the manifest, or leave its key out"
        ) from error
    assert isinstance(copied, dict)
    return copied


def _can_be_stored(value: object) -> bool:
    try:
        copy_json(value)
    except DataError:
        return False
    return True


def _thumbnail(path: Path | str | None) -> bytes | None:
    return None if path is None else jpeg_thumbnail(Path(path), edge=THUMBNAIL_EDGE)


class Put(Protocol):
    """`add` or `upsert` of an index."""

    def __call__(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
        weights: Mapping[str, Weights] | None = None,
    ) -> Any:
        """Store items."""
        ...


def put_codes(
    put: Put,
    codes: CodeFile,
    rows: npt.NDArray[np.int64],
    *,
    payload_of: Callable[[int], Mapping[str, object]],
) -> None:
    """Store rows of a code file, a call for each combination of modalities that items have.

    Args:
        put: `add` or `upsert` of an index.
        codes: the codes; rows without any are ignored.
        rows: which of them.
        payload_of: the payload of a row.
    """
    presence = presence_of(codes)[rows]
    for has in np.unique(presence, axis=0)[::-1]:  # items with every modality first
        those = rows[(presence == has).all(axis=1)]
        names = [name for name, there in zip(codes.modalities, has, strict=True) if there]
        if names:
            put(
                [codes.ids[row] for row in those],
                {name: codes.of(name)[those] for name in names},
                payloads=[payload_of(row) for row in those.tolist()],
                weights={name: codes.weights[name][those] for name in names}
                if codes.weights
                else None,
            )
