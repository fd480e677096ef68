"""Encode the items of a collection through the cache; bad files are named by row."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from proxyhash.data.images import open_image
from proxyhash.data.modalities import MODALITIES
from proxyhash.encoders.base import BatchEncoder, Features
from proxyhash.encoders.batches import encode_batches
from proxyhash.encoders.cache import content_key
from proxyhash.encoders.folder import fingerprint_of
from proxyhash.encoders.precomputed import PrecomputedFeatures
from proxyhash.errors import NotFiniteError, SourceError, check_option
from proxyhash.files import sha256_file
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from proxyhash.data.collection import Collection
    from proxyhash.encoders.base import Encoder
    from proxyhash.encoders.cache import CachedFeatures, FeatureCache

__all__ = ["View", "encode_collection"]

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

    Raises:
        SourceError: "MANIFEST, row 12, item 'a': PATH: no such file"; of the class that the
            encoder raises, such as ImageError.
        NotFiniteError: the encoder makes features that are not finite, also with "skip".
    """
    check_option("on_bad_item", on_bad_item, ("fail", "skip"))
    if isinstance(encoder, PrecomputedFeatures):
        return encoder.rows(collection)
    kind = MODALITIES[encoder.modality]
    sources = collection.sources(kind.name)
    present = collection.has(kind.name).copy()
    unreadable = np.zeros(len(present), np.bool_)
    positions = np.flatnonzero(present)
    if isinstance(encoder, BatchEncoder):
        positions = positions[encoder.order([sources[position] for position in positions])]
        batch_size = min(batch_size, encoder.max_batch)
    values = np.zeros((len(sources), encoder.dim), dtype=np.float32)
    bad: list[SourceError] = []
    with _shelf(encoder, view, cache) as kept:
        job = _Job(encoder, sources, kept, view)
        rows = encode_batches(job.encode, positions, batch_size=batch_size)
        for position, row in track(rows, f"encoding {kind.plural}", len(positions)):
            if row.error is not None:
                item = collection.items[position]
                where = f"{collection.path}, row {item.row}, item {item.id!r}"
                if isinstance(row.error, NotFiniteError):  # the fault of the encoder
                    raise NotFiniteError(f"{where}: {row.error}") from row.error
                bad.append(type(row.error)(f"{where}: {row.error}"))
                if on_bad_item == "fail":
                    hint = "--on-bad-item skip goes on without what cannot be read"
                    raise type(row.error)(f"{bad[0]}; {hint}") from row.error
                present[position], unreadable[position] = False, True
                continue
            values[position] = row.values
            if kept is not None and row.key is not None:
                kept.add(row.key, values[position])
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

    def _key(self, source: Path | str) -> bytes:
        """Return the cache key of a text or a file."""
        if isinstance(source, str):
            return content_key(source)
        try:
            if not source.is_file() or not source.stat().st_size:
                self._prepare(source)  # raises the right error
            return bytes.fromhex(sha256_file(source))
        except OSError as error:
            raise SourceError(f"{source}: cannot be read ({error})") from error
