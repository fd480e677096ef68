"""Reading everything that a manifest names, and telling all that is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from proxyhash.data.collection import Collection
from proxyhash.data.images import MAX_PIXELS, open_image
from proxyhash.data.manifest import scan_manifest
from proxyhash.errors import ImageError
from proxyhash.files import sha256_file
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from proxyhash.data.item import Item

__all__ = ["CheckReport", "Finding", "check_collection"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at: the manifest's row, and the item's id and image where known."""

    row: int
    message: str
    id: str | None = None
    image: str | None = None

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


@dataclass(frozen=True)
class CheckReport:
    """What `check_collection` found; every list is in order of row.

    Attributes:
        path: the manifest file.
        format: the name of its reader.
        items: rows that are items.
        with_image, with_text, with_both, with_neither: how many of them have what.
        without_labels: how many have no label.
        labels: items per label, the most frequent first.
        splits: items per value of `split`, as written.
        images_read: how many images were decoded without an error.
        bad_rows: rows that are no item.
        duplicate_ids: rows whose id an earlier row has.
        missing_images: images that are not there.
        unreadable_images: images that cannot be decoded.
        empty_texts: rows that have a text with nothing in it.
        duplicate_images: ids of items with the very same image file content, group by group.
        hints: sentences on keys that look misspelt and on labels that look alike.
    """

    path: str
    format: str
    items: int
    with_image: int
    with_text: int
    with_both: int
    with_neither: int
    without_labels: int
    labels: Mapping[str, int]
    splits: Mapping[str, int]
    images_read: int
    bad_rows: tuple[Finding, ...]
    duplicate_ids: tuple[Finding, ...]
    missing_images: tuple[Finding, ...]
    unreadable_images: tuple[Finding, ...]
    empty_texts: tuple[int, ...]
    duplicate_images: tuple[tuple[str, ...], ...]
    hints: tuple[str, ...]

    @property
    def errors(self) -> int:
        """How many findings keep the manifest from being used as it is."""
        return sum(
            map(
                len,
                (self.bad_rows, self.duplicate_ids, self.missing_images, self.unreadable_images),
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON, with `errors` beside it."""
        return {"errors": self.errors, **asdict(self)}


def check_collection(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002
    images: bool = True,
    max_pixels: int = MAX_PIXELS,
    threads: int = 4,
    track: Track = silent,
) -> CheckReport:
    """Read a whole manifest and decode every image, and return what was found.

    Args:
        path: a manifest, or a folder with one in it.
        format: the reader's name; by default it follows from the file's name.
        images: open the images too.
        max_pixels: images with more count as unreadable.
        threads: how many images are decoded at a time.
        track: is told of each image.

    Raises:
        ManifestError: there is no manifest, or it is empty or unreadable as a whole.
        UsageError: `format` names no reader.
    """
    scan = scan_manifest(path, format=format)
    collection = Collection.of(scan.path, scan.items)
    reading = _Images()
    if images:
        reading.read(collection, max_pixels=max_pixels, threads=threads, track=track)
    has_image, has_text = collection.has_image, collection.has_text
    return CheckReport(
        path=str(scan.path),
        format=scan.format,
        items=len(collection),
        with_image=int(has_image.sum()),
        with_text=int(has_text.sum()),
        with_both=int((has_image & has_text).sum()),
        with_neither=int((~has_image & ~has_text).sum()),
        without_labels=sum(not item.labels for item in scan.items),
        labels=_counts(name for item in scan.items for name in item.labels),
        splits=_counts(item.split for item in scan.items if item.split is not None),
        images_read=reading.good,
        bad_rows=tuple(Finding(each.row, each.message) for each in scan.problems),
        duplicate_ids=tuple(Finding(each.row, each.message) for each in scan.duplicates),
        missing_images=tuple(reading.missing),
        unreadable_images=tuple(reading.unreadable),
        empty_texts=scan.empty_texts,
        duplicate_images=reading.duplicates(),
        hints=(*scan.hints, *_alike(collection.classes)),
    )


class _Images:
    """Decodes images in threads and sorts what comes of it."""

    def __init__(self) -> None:
        self.good = 0
        self.missing: list[Finding] = []
        self.unreadable: list[Finding] = []
        self._ids_by_content: defaultdict[str, list[str]] = defaultdict(list)

    def read(self, collection: Collection, *, max_pixels: int, threads: int, track: Track) -> None:
        work = [
            (item, path)
            for item, path in zip(collection.items, collection.image_paths, strict=True)
            if path is not None
        ]

        def look(item: Item, path: Path) -> str | Finding:
            """The image's content hash, or what is wrong with it."""
            try:
                open_image(path, max_pixels=max_pixels)
                return sha256_file(path)
            except (ImageError, OSError) as error:
                return Finding(item.row, str(error), id=item.id, image=item.image)

        pool = ThreadPoolExecutor(max_workers=threads)
        try:
            results = pool.map(look, *zip(*work, strict=True)) if work else iter(())
            for (item, path), result in zip(
                work, track(results, "check images", len(work)), strict=True
            ):
                if isinstance(result, str):
                    self.good += 1
                    self._ids_by_content[result].append(item.id)
                else:
                    (self.unreadable if _exists(path) else self.missing).append(result)
        finally:
            pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the rest

    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(ids) for ids in self._ids_by_content.values() if len(ids) > 1)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have, being too long for one
        return False


def _alike(labels: Iterable[str]) -> Iterator[str]:
    """Sentences on labels that are probably one and the same."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in labels:
        groups[" ".join(name.casefold().split())].append(name)
    for names in groups.values():
        if len(names) > 1:
            yield f"labels {', '.join(map(repr, sorted(names)))} differ only in case or blanks"


def _counts(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs, the most frequent first, then by name."""
    return dict(sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0])))
