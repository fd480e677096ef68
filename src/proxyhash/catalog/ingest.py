"""From a manifest to the items of an index, batch by batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from proxyhash.catalog.thumbnails import jpeg_thumbnail
from proxyhash.data import Collection
from proxyhash.encoders.batches import worker_threads
from proxyhash.errors import DataError, InterruptedRunError
from proxyhash.payload import copy_json
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from proxyhash.catalog.thumbnails import ThumbnailStore
    from proxyhash.codes import CodeFile, Codes
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

BATCH = 512
"""Items that are encoded and stored together; Ctrl-C loses at most as many."""

THUMBNAIL_EDGE = 256
"""Longest side of a stored thumbnail in pixels; as JPEG some 5 to 25 kB."""

_ALWAYS = ("text", "image")
"""Keys that every payload has, null where an item lacks them."""


@dataclass(frozen=True)
class IndexReport:
    """Counts of the items of a manifest by what was done with them.

    Attributes:
        added: stored under new ids.
        replaced: stored in place of other codes or another payload.
        unchanged: already stored with the same codes and payload.
        without_code: without anything that the model encodes; not stored.
        thumbnails: made and stored.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    without_code: int = 0
    thumbnails: int = 0

    def __add__(self, other: IndexReport) -> IndexReport:
        ours, theirs = asdict(self), asdict(other)
        return IndexReport(**{name: ours[name] + theirs[name] for name in ours})

    @property
    def stored(self) -> int:
        """Number of the items that the index contains."""
        return self.added + self.replaced + self.unchanged


def ingest_collection(
    index: Index,
    model: HashModel,
    collection: Collection,
    *,
    thumbnails: ThumbnailStore | None = None,
    cache: FeatureCache | None = None,
    on_bad_item: str = "fail",
    track: Track = silent,
    batch: int = BATCH,
) -> IndexReport:
    """Encode the items of a collection and store them; unchanged ones are not written.

    A payload has `text`, `image` (the path as the manifest has it) and `labels`, and every other
    key of the manifest. Takes the memory of one batch beside the index and the manifest.

    Args:
        index: open for writing, of this model.
        model: makes the codes.
        collection: the items.
        thumbnails: where small images go, or None for none.
        cache: of features.
        on_bad_item: "fail" at an image that cannot be read, or "skip" it: the item counts as
            having none.
        track: progress callback.
        batch: items that are stored together.

    Raises:
        InterruptedRunError: Ctrl-C; says how to continue.
        ImageError: an image cannot be read.
        DataError: a payload is not JSON; earlier batches are stored.
    """
    report = IndexReport()
    work = _Work(index, model, thumbnails, cache, on_bad_item)
    try:
        for items in _batches(collection.items, batch, track):
            report += work.store(Collection.of(collection.path, items))
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"stopped by Ctrl-C; {report.stored:,} of {len(collection):,} items are stored: "
            "`proxyhash index add` with the same manifest continues from there"
        ) from None
    return report


def _batches(items: Sequence[Item], size: int, track: Track) -> Iterator[list[Item]]:
    """Cut items into batches; an item counts as done when the next one is asked for."""
    waiting: list[Item] = []
    for place, item in enumerate(track(items, "indexing items", len(items)), start=1):
        waiting.append(item)
        if len(waiting) == size or place == len(items):
            yield waiting
            waiting = []


@dataclass(frozen=True)
class _Work:
    index: Index
    model: HashModel
    thumbnails: ThumbnailStore | None
    cache: FeatureCache | None
    on_bad_item: str

    def store(self, collection: Collection) -> IndexReport:
        codes = self.model.encode_collection(
            collection, cache=self.cache, on_bad_item=self.on_bad_item
        )
        payloads = [item_payload(item, collection) for item in collection.items]
        coded = np.asarray(_presence(codes).any(axis=1))
        there = np.array([id_ in self.index for id_ in codes.ids], np.bool_)
        same = np.zeros(len(codes), np.bool_)
        for row in np.flatnonzero(coded & there).tolist():
            same[row] = self._is_stored(codes, row, payloads[row])
        made = self._make_thumbnails(collection, coded, same)
        put_codes(
            self.index.upsert, codes, np.flatnonzero(coded & ~same), payload_of=payloads.__getitem__
        )
        return IndexReport(
            added=int((coded & ~there).sum()),
            replaced=int((coded & there & ~same).sum()),
            unchanged=int(same.sum()),
            without_code=int((~coded).sum()),
            thumbnails=made,
        )

    def _is_stored(self, codes: CodeFile, row: int, payload: object) -> bool:
        item = self.index.get(codes.ids[row])
        own = {name: codes.of(name)[row] for name in codes.modalities if codes.has(name)[row]}
        return (
            own.keys() == item.codes.keys()
            and all((item.codes[name] == code).all() for name, code in own.items())
            and item.payload == payload
        )

    def _make_thumbnails(
        self, collection: Collection, coded: npt.NDArray[np.bool_], same: npt.NDArray[np.bool_]
    ) -> int:
        """Store thumbnails before their items, so that these are complete; return how many."""
        if self.thumbnails is None:
            return 0
        ids, images = collection.ids, collection.sources("image")
        present = self.thumbnails.present(ids)
        rows = [row for row in np.flatnonzero(coded) if not same[row] or ids[row] not in present]
        with ThreadPoolExecutor(worker_threads()) as pool:
            thumbnails = pool.map(_thumbnail, [images[row] for row in rows])
        found = dict(zip((ids[row] for row in rows), thumbnails, strict=True))
        made = {id_: jpeg for id_, jpeg in found.items() if jpeg is not None}
        self.thumbnails.put(made)
        self.thumbnails.delete([id_ for id_ in found if id_ not in made and id_ in present])
        return len(made)


def item_payload(item: Item, collection: Collection) -> dict[str, object]:
    """Return what hits have of an item: further keys, sources as in the manifest, and labels.

    Raises:
        DataError: a further key has a value that JSON cannot hold; names file, row and item.
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
        raise DataError(f"{error}; change it in the manifest, or leave its key out") from error
    assert isinstance(copied, dict)
    return copied


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
    presence = _presence(codes)[rows]
    for has in np.unique(presence, axis=0)[::-1]:  # items with every modality first
        those = rows[(presence == has).all(axis=1)]
        names = [name for name, there in zip(codes.modalities, has, strict=True) if there]
        if names:
            put(
                [codes.ids[row] for row in those],
                {name: codes.of(name)[those] for name in names},
                payloads=[payload_of(row) for row in those.tolist()],
            )


def _presence(codes: CodeFile) -> npt.NDArray[np.bool_]:
    """Return which items have which of the modalities, bool (n, modalities)."""
    each = [codes.has(name) for name in codes.modalities]
    return np.stack(each, axis=1) if each else np.zeros((len(codes), 0), np.bool_)
