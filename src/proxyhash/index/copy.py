"""Copies of one index in another, of any kind, that can be interrupted and are verified."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import DataError, UsageError
from proxyhash.files import read_json, write_json
from proxyhash.index.hit import stacked_weights
from proxyhash.index.open import create_index, index_exists, open_index, option_names
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proxyhash.index.base import Index
    from proxyhash.index.hit import IndexItem

__all__ = ["Checksum", "CopyReport", "checksum", "copy_between", "copy_index"]


@dataclass(frozen=True, slots=True)
class Checksum:
    """Number of items and digest of an index, the same wherever it is.

    Attributes:
        items: how many items.
        sha256: hex digest of all ids, codes and payloads, in the order of the ids.
    """

    items: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CopyReport:
    """Report of a copy.

    Attributes:
        items: how many items both indexes hold now.
        written: how many of them this call wrote; the others were there from an earlier one.
        sha256: digest of both, read back.
    """

    items: int
    written: int
    sha256: str


def checksum(
    index: Index, *, track: Track = silent, batch: int = 10_000, vectors: bool = False
) -> Checksum:
    """Read an index from end to end and return its checksum; with `vectors`, over those as well."""
    digest = hashlib.sha256()
    count = 0
    for item in _tracked(index, index.items(batch=batch), track, "checking"):
        codes = {name: np.asarray(code).tobytes().hex() for name, code in item.codes.items()}
        content = [item.id, codes, item.payload]
        if vectors:
            content.append({name: each.tobytes().hex() for name, each in item.weights.items()})
        text = json.dumps(content, sort_keys=True)
        digest.update(text.encode() + b"\n")
        count += 1
    return Checksum(count, digest.hexdigest())


def copy_index(
    source: Index,
    target: Index,
    *,
    batch: int = 5_000,
    track: Track = silent,
    record: Path | None = None,
) -> CopyReport:
    """Copy all items, then read both indexes back and compare counts and checksums.

    Batches are upserted in the order of the ids, so one that is written twice does no harm. Do not
    write to either index meanwhile.

    Args:
        source: what is read.
        target: what is written; empty, or the target of a copy with this record that was
            interrupted.
        batch: how many items are held in memory and sent at a time.
        track: told of the progress.
        record: a file for how far the copy is; when it exists, the copy goes on from there. It is
            removed when the copy is verified, or found to be wrong.

    Raises:
        UsageError: the target holds items, and there is no record of a copy.
        DataError: the indexes do not fit together, or differ after the copy.
    """
    if batch < 1:
        raise UsageError(f"batch is {batch}; it must be at least 1")
    _check_alike(source, target)
    progress = _Progress(record, source)
    if not progress.resumed and len(target):
        raise UsageError(
            f"the target holds {len(target)} items already, and there is no record of a copy that "
            "was interrupted; copy into an empty index"
        )
    progress.save(progress.last)
    written = 0
    for items in _after(progress.last, _whole_batches(source, track, batch)):
        for group in _alike(items):
            _upsert(target, group)
        written += len(items)
        progress.save(items[-1].id)
    vectors = source.vectors is not None and source.vectors == target.vectors
    found = checksum(target, track=track, vectors=vectors)
    wanted = checksum(source, track=track, vectors=vectors)
    progress.remove()
    if found != wanted:
        raise DataError(
            f"the source has {wanted.items} items (SHA-256 {wanted.sha256[:12]}) and the target "
            f"{found.items} ({found.sha256[:12]}); was one of them written meanwhile? "
            "Empty the target and copy again"
        )
    return CopyReport(found.items, written, found.sha256)


def copy_between(
    source: str,
    target: str,
    *,
    batch: int = 5_000,
    track: Track = silent,
    record: Path | None = None,
    source_options: dict[str, Any] | None = None,
    target_options: dict[str, Any] | None = None,
) -> CopyReport:
    """Copy an index by URI; the target is created where it does not exist.

    A copy that was interrupted goes on when it is called again with the same URIs.

    Args:
        source: see `open_index`.
        target: see `open_index`.
        batch: see `copy_index`.
        track: told of the progress.
        record: see `copy_index`; default a file beside the folder or file of one of the two.
        source_options: further arguments of `open_index`, such as `token`.
        target_options: further arguments of `create_index`, and those of them that `open_index`
            takes where the target exists.

    Raises:
        UsageError: the target holds something else, or source and target are the same.
        DataError: the source is damaged, or differs from the target after the copy.
    """
    if source == target:
        raise UsageError(f"source and target are both {source}")
    record = _default_record(source, target) if record is None else record
    given = target_options or {}
    opened = {name: given[name] for name in option_names(target, "exists") if name in given}
    reading = open_index(source, **(source_options or {}))
    try:
        if index_exists(target, **opened):
            writing = open_index(target, write=True, **opened)
        else:
            description: Any = {"bits": reading.bits, "model": reading.model}
            if reading.vectors and "keep_vectors" in option_names(target, "create"):
                description["keep_vectors"] = reading.vectors
            writing = create_index(
                target, modalities=reading.modalities, **{**description, **given}
            )
        try:
            return copy_index(reading, writing, batch=batch, track=track, record=record)
        finally:
            writing.close()
    finally:
        reading.close()


class _Progress:
    """Progress of a copy, kept in a file when there is one."""

    def __init__(self, path: Path | None, source: Index) -> None:
        self.last: str | None = None
        self.resumed = path is not None and path.exists()
        self._path = path
        self._source = {"bits": source.bits, "model": source.model, "items": len(source)}
        if path is not None and self.resumed:
            found = read_json(path)
            # Of another source: the copy starts over, and writes again what is there.
            if isinstance(found, dict) and found.get("source") == self._source:
                self.last = found.get("last")

    def save(self, last: str | None) -> None:
        self.last = last
        if self._path is not None:
            write_json(self._path, {"source": self._source, "last": last})

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _check_alike(source: Index, target: Index) -> None:
    for what in ("bits", "model"):
        here, there = getattr(source, what), getattr(target, what)
        if here != there:
            raise DataError(
                f"the source has {what} {here!r} and the target {there!r}; "
                "copy into an index that was made for the same codes"
            )
    missing = set(source.modalities) - set(target.modalities)
    if missing:
        raise DataError(f"the target cannot hold codes of {', '.join(sorted(missing))}")


def _tracked(
    index: Index, batches: Iterable[list[IndexItem]], track: Track, what: str
) -> Iterator[IndexItem]:
    return track((item for batch in batches for item in batch), what, len(index))


def _whole_batches(source: Index, track: Track, batch: int) -> Iterator[list[IndexItem]]:
    items = _tracked(source, source.items(batch=batch), track, "copying")
    part: list[IndexItem] = []
    for item in items:
        part.append(item)
        if len(part) == batch:
            yield part
            part = []
    if part:
        yield part


def _after(last: str | None, batches: Iterable[list[IndexItem]]) -> Iterator[list[IndexItem]]:
    for items in batches:
        rest = items if last is None else [item for item in items if item.id > last]
        if rest:
            yield rest


def _alike(items: Sequence[IndexItem]) -> list[list[IndexItem]]:
    """Return the items in groups that have codes of the same modalities."""
    groups: dict[frozenset[str], list[IndexItem]] = {}
    for item in items:
        groups.setdefault(frozenset(item.codes), []).append(item)
    return list(groups.values())


def _upsert(target: Index, items: Sequence[IndexItem]) -> None:
    target.upsert(
        [item.id for item in items],
        {name: np.stack([item.codes[name] for item in items]) for name in items[0].codes},
        payloads=[item.payload for item in items],
        weights=stacked_weights(items) if target.vectors else None,
    )


def _default_record(source: str, target: str) -> Path:
    name = hashlib.sha256(f"{source}\n{target}".encode()).hexdigest()[:12]
    local = [uri for uri in (source, target) if "://" not in uri]
    folder = Path(local[0].partition("#")[0]).absolute().parent if local else Path.cwd()
    return folder / f".proxyhash-copy-{name}.json"
