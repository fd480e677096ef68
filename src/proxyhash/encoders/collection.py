"""Encode the items of a collection through the cache; bad files are named by row."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from proxyhash.data.contained import content_hash, has_content
from proxyhash.data.images import open_image
from proxyhash.data.modalities import MODALITIES
from proxyhash.encoders.base import BatchEncoder, Features
from proxyhash.encoders.batches import encode_batches
from proxyhash.encoders.cache import content_key
from proxyhash.encoders.folder import fingerprint_of
from proxyhash.encoders.precomputed import PrecomputedFeatures
from proxyhash.errors import NotFiniteError, SourceError, check_option
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from proxyhash.data.collection import Collection
    from proxyhash.data.item import Item
    from proxyhash.encoders.base import Encoder
    from proxyhash.encoders.cache import CachedFeatures, FeatureCache

__all__ = ["View", "encode_collection", "encode_steps", "place_of"]

logger = logging.getLogger(__name__)

_NAMED = 5  # bad files listed in the warning; the rest are counted
_OPENERS = {"image": open_image}  # for encoders without a `prepare` that does it


class View(Protocol):
    """A way to look at images that is not the encoder's own, such as a random crop.

    Attributes:
        name: what decides how an image looks, for the cache.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - documented above

    def open(self, source: Path) -> Image.Image:
        """Return the image as it is to be encoded; raises a SourceError."""
        ...


def encode_collection(
    encoder: Encoder,
    collection: Collection,
    *,
    view: View | None = None,
    cache: FeatureCache | None = None,
    batch_size: int = 64,
    track: Track = silent,
    on_bad_item: str = "fail",
    part_of: tuple[int, int] | None = None,
) -> Features:
    """Return the features of every item that has the encoder's modality, aligned with the items.

    Args:
        encoder: any encoder; with precomputed features, their rows are returned.
        collection: the items.
        view: how to look at images; None: as they are.
        cache: where features are looked up and stored; None encodes everything.
        batch_size: the batch size, at most.
        track: told of every item.
        on_bad_item: "fail" at the first file that cannot be read, or "skip": go on without it,
            log a warning, and mark the item as `unreadable`.
        part_of: where these are items of a longer manifest, one after the other, the place of the
            first there and the number of its items: precomputed features are found by them.

    Raises:
        SourceError: "MANIFEST, row 12, item 'a': PATH: no such file"; of the class that the
            encoder raises, such as ImageError.
        NotFiniteError: the encoder makes features that are not finite, also with "skip".
    """
    check_option("on_bad_item", on_bad_item, ("fail", "skip"))
    if isinstance(encoder, PrecomputedFeatures):
        if part_of is None:
            return encoder.rows(collection)
        start, items = part_of
        places = np.arange(start, start + len(collection))
        some = encoder.some_rows(collection.ids, places, items=items, root=collection.root)
        named = collection.has(encoder.modality)
        return Features(some.values, some.present, ~some.present & named)
    found: list[Features] = []

    def steps() -> Iterator[None]:
        features = yield from encode_steps(
            encoder,
            collection.sources(encoder.modality),
            place=lambda position: place_of(collection.path, collection.items[position]),
            view=view,
            cache=cache,
            batch_size=batch_size,
            on_bad_item=on_bad_item,
        )
        found.append(features)

    total = int(collection.has(encoder.modality).sum())
    deque(track(steps(), f"encoding {MODALITIES[encoder.modality].plural}", total), maxlen=0)
    return found[0]


def place_of(path: Path | str, item: Item) -> str:
    """Return "MANIFEST, row 12, item 'a'", as errors begin."""
    return f"{path}, row {item.row}, item {item.id!r}"


def encode_steps(
    encoder: Encoder,
    sources: Sequence[Any],
    *,
    place: Callable[[int], str],
    view: View | None = None,
    cache: FeatureCache | None = None,
    batch_size: int = 64,
    on_bad_item: str = "fail",
    steady: bool = False,
) -> Generator[None, None, Features]:
    """Yield once per source, in no order, and return the features of all, aligned with them.

    Args:
        encoder: any encoder but precomputed features.
        sources: paths or bytes of files, texts or other content; None where an item has none.
        place: the beginning of an error about the source at a position.
        view: as of `encode_collection`.
        cache: as of `encode_collection`.
        batch_size: the batch size, at most.
        on_bad_item: as of `encode_collection`.
        steady: whether batches are the same on every machine, however many threads it has.

    Raises:
        SourceError: as `encode_collection`.
        NotFiniteError: as `encode_collection`.
    """
    kind = MODALITIES[encoder.modality]
    present = np.array([source is not None for source in sources], dtype=np.bool_)
    unreadable = np.zeros(len(present), np.bool_)
    positions = np.flatnonzero(present)
    if isinstance(encoder, BatchEncoder):
        positions = positions[encoder.order([sources[position] for position in positions.tolist()])]
        batch_size = min(batch_size, encoder.max_batch)
    values = np.zeros((len(sources), encoder.dim), dtype=np.float32)
    bad: list[SourceError] = []
    with _shelf(encoder, view, cache) as kept:
        job = _Job(encoder, sources, kept, view)
        for position, row in encode_batches(
            job.encode, positions, batch_size=batch_size, steady=steady
        ):
            if row.error is not None:
                where = place(position)
                if isinstance(row.error, NotFiniteError):  # the fault of the encoder
                    raise NotFiniteError(f"{where}: {row.error}") from row.error
                bad.append(type(row.error)(f"{where}: {row.error}"))
                if on_bad_item == "fail":
                    hint = "--on-bad-item skip goes on without what cannot be read"
                    raise type(row.error)(f"{bad[0]}; {hint}") from row.error
                present[position], unreadable[position] = False, True
            else:
                values[position] = row.values
                if kept is not None and row.key is not None:
                    kept.add(row.key, values[position])
            yield
    if bad:
        logger.warning(
            "%s cannot be read; these items are taken without:\n%s",
            f"{len(bad):,} {kind.name if len(bad) == 1 else kind.plural}",
            "\n".join(map(str, bad[:_NAMED])) + ("\n..." if len(bad) > _NAMED else ""),
        )
    return Features(values, present, unreadable)


def _shelf(encoder: Encoder, view: View | None, cache: FeatureCache | None) -> Any:
    if cache is None or not getattr(encoder, "cached", True):
        return nullcontext()
    name = encoder.fingerprint
    if view is not None:
        name = fingerprint_of({"encoder": name, "view": view.name}, {})
    return cache.open(name, dim=encoder.dim)


@dataclass
class _Row:
    """Result for one item: features or an error, and a key if they are to be cached."""

    values: NDArray[np.float32] | None = None
    key: bytes | None = None
    error: SourceError | None = None


@dataclass(frozen=True)
class _Job:
    """Encoding of batches of one collection; runs in several threads."""

    encoder: Encoder
    sources: Sequence[Any]
    kept: CachedFeatures | None
    view: View | None

    def encode(self, positions: NDArray[np.int64]) -> list[_Row]:
        rows = [_Row() for _ in positions]
        waiting: list[tuple[_Row, Any]] = []
        for row, position in zip(rows, positions, strict=True):
            source = self.sources[position]
            try:
                if self.kept is not None:
                    key = self._key(source)
                    row.values = self.kept.get(key)
                    row.key = key if row.values is None else None
                if row.values is None:
                    waiting.append((row, self._prepare(source)))
            except SourceError as error:
                row.error = error
            except OSError as error:  # a folder that may not be entered, a name that is too long
                row.error = SourceError(f"{source}: cannot be read ({error.strerror or error})")
        if waiting:
            found = self._embed([prepared for _, prepared in waiting])
            for (row, _), values in zip(waiting, found, strict=True):
                row.values = values
        for row in rows:
            if row.values is not None and not np.isfinite(row.values).all():
                row.error = NotFiniteError(
                    f"the {self.encoder.modality} encoder makes features of it that are not "
                    "finite; check the weights of its model, or leave the item out"
                )
        return rows

    def _prepare(self, source: Any) -> Any:
        if self.view is not None:
            source = self.view.open(source)
        if isinstance(self.encoder, BatchEncoder):
            return self.encoder.prepare(source)
        opener = _OPENERS.get(self.encoder.modality)
        return source if opener is None else opener(source)

    def _embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        if isinstance(self.encoder, BatchEncoder):
            return self.encoder.embed(prepared)
        return self.encoder.encode(prepared, batch_size=len(prepared))

    def _key(self, source: Path | bytes | str) -> bytes:
        """Return the cache key of a text, a file or its content."""
        if isinstance(source, str | bytes):
            return content_key(source)
        try:
            if not has_content(source):
                self._prepare(source)  # raises the right error
            return bytes.fromhex(content_hash(source))
        except OSError as error:
            raise SourceError(f"{source}: cannot be read ({error})") from error
