"""Check a manifest and everything it names, and report all problems found."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.data.collection import Collection
from proxyhash.data.contained import content_hash
from proxyhash.data.images import open_image
from proxyhash.data.manifest import scan_manifest
from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.data.places import Nearby, exists, looks_like_text
from proxyhash.errors import SourceError
from proxyhash.progress import Track, silent
from proxyhash.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from proxyhash.data.item import Item

__all__ = ["CheckReport", "FilesReport", "Finding", "check_collection"]


_AHEAD = 16  # files per thread that are waited for


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: the manifest's row, and the item's id and file where known.

    Attributes:
        row: the manifest's row.
        message: the problem.
        id: the item's id, or None.
        file: the path as the manifest has it, or None.
        modality: of the file.
    """

    row: int
    message: str
    id: str | None = None
    file: str | None = None
    modality: Modality = "image"

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding ready for JSON, the file under its modality."""
        return {
            "row": self.row,
            "message": self.message,
            "id": self.id,
            self.modality: self.file,
        }


@dataclass(frozen=True)
class FilesReport:
    """Result of checking the files of one modality.

    Attributes:
        read: number of files read, and images decoded, without an error.
        missing: those that do not exist, in order of row.
        unreadable: those that cannot be read or decoded, in order of row.
        duplicates: ids of items whose files have identical content, group by group.
    """

    read: int
    missing: tuple[Finding, ...]
    unreadable: tuple[Finding, ...]
    duplicates: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class CheckReport:
    """Result of `check_collection`; every list is in order of row.

    Attributes:
        path: the manifest file.
        format: the name of its reader.
        items: number of valid items.
        having: by modality, the number of items that have it; image and text are always keys.
        complete: number of items that have all of these.
        without_sources: number of items that have none of these.
        without_labels: number of items without labels.
        with_probabilities: number of items whose labels are probabilities.
        labels: items per label, the most frequent first.
        splits: items per value of `split`, as written.
        files: by modality, the result for its files.
        bad_rows: rows that are not a valid item.
        duplicate_ids: rows whose id is already used.
        blank: by modality, rows that have one without any content, such as a blank text.
        hints: sentences about keys that look misspelled and labels that look alike.
        types: by column of a table, what its cells became, such as "numbers".
        recognized: a sentence about what was found out about the files, or "".
    """

    path: str
    format: str
    items: int
    having: Mapping[Modality, int]
    complete: int
    without_sources: int
    without_labels: int
    labels: Mapping[str, int]
    splits: Mapping[str, int]
    files: Mapping[Modality, FilesReport]
    bad_rows: tuple[Finding, ...]
    duplicate_ids: tuple[Finding, ...]
    blank: Mapping[Modality, tuple[int, ...]]
    hints: tuple[str, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    recognized: str = ""
    with_probabilities: int = 0

    @property
    def errors(self) -> int:
        """The number of problems that prevent using the manifest as it is."""
        wrong = sum(len(each.missing) + len(each.unreadable) for each in self.files.values())
        return len(self.bad_rows) + len(self.duplicate_ids) + wrong

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON, with `errors` beside it.

        Keys name the modality: `with_image`, `images_read`, `missing_images`, `empty_texts`.
        `with_both` counts the items with every modality, `with_neither` those without any.
        """
        result: dict[str, Any] = {
            "errors": self.errors,
            "path": self.path,
            "format": self.format,
            "items": self.items,
            **{f"with_{modality}": count for modality, count in self.having.items()},
            "with_both": self.complete,
            "with_neither": self.without_sources,
            "without_labels": self.without_labels,
            "with_probabilities": self.with_probabilities,
            "labels": dict(self.labels),
            "splits": dict(self.splits),
            **{f"{_plural(name)}_read": files.read for name, files in self.files.items()},
            "bad_rows": _plain(self.bad_rows),
            "duplicate_ids": _plain(self.duplicate_ids),
        }
        for name, files in self.files.items():
            result[f"missing_{_plural(name)}"] = _plain(files.missing)
            result[f"unreadable_{_plural(name)}"] = _plain(files.unreadable)
        for name, rows in self.blank.items():
            result[f"empty_{_plural(name)}"] = list(rows)
        for name, files in self.files.items():
            result[f"duplicate_{_plural(name)}"] = [list(ids) for ids in files.duplicates]
        if "image" in self.files:
            result["pictures_read"] = self.files["image"].read  # its name in version 0.1
        facts = {"types": dict(self.types), "recognized": self.recognized}
        return {**result, "hints": list(self.hints), **facts}


def check_collection(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002
    label_separator: str | None = None,
    files: bool = True,
    max_pixels: int | None = None,
    threads: int = 4,
    track: Track = silent,
) -> CheckReport:
    """Read a whole manifest and every file in it, decode every image, and return a report.

    Args:
        path: a manifest, a folder with one in it, or a folder of images.
        format: the reader's name; auto-detected from the file's name by default.
        label_separator: what separates labels in a cell of text; by default `|`, or else `;`.
        files: whether to read the files at all.
        max_pixels: larger images count as unreadable; default the limits of
            `proxyhash.data.images`.
        threads: number of files read at the same time.
        track: told of each file.

    Raises:
        ManifestError: there is no manifest, or it is empty or unreadable as a whole.
        UsageError: `format` names no reader.
    """
    scan = scan_manifest(path, format=format, label_separator=label_separator)
    collection = Collection.of(scan.path, scan.items)
    seen = ("image", "text", *collection.modalities)
    modalities = [name for name in MODALITIES if name in seen]
    present = np.stack([collection.has(name) for name in modalities])
    openers = {"image": partial(open_image, max_pixels=max_pixels)}
    return CheckReport(
        path=str(scan.path),
        format=scan.format,
        items=len(collection),
        having={name: int(collection.has(name).sum()) for name in modalities},
        complete=int(present.all(axis=0).sum()),
        without_sources=int((~present.any(axis=0)).sum()),
        without_labels=int((~collection.labels.any(axis=1)).sum()),
        labels=_sorted_counts(
            dict(zip(collection.classes, collection.labels.sum(axis=0).tolist(), strict=True))
        ),
        splits=_counts(item.split for item in scan.items if item.split is not None)
        if collection.names_splits
        else {},
        files={
            name: _check_files(collection, name, openers.get(name), threads=threads, track=track)
            if files
            else FilesReport(0, (), (), ())
            for name in modalities
            if MODALITIES[name].is_file
        },
        bad_rows=tuple(Finding(each.row, each.message) for each in scan.problems),
        duplicate_ids=tuple(Finding(each.row, each.message) for each in scan.duplicates),
        blank={name: rows for name, rows in scan.blank.items() if name in seen},
        hints=(*scan.hints, *_alike(collection.classes)),
        types=scan.types,
        recognized=scan.recognized,
        with_probabilities=collection.estimated,
    )


def _check_files(
    collection: Collection,
    modality: Modality,
    opener: Callable[[Path], object] | None,
    *,
    threads: int,
    track: Track,
) -> FilesReport:
    """Read the files of a modality in threads; `opener` raises for unusable content."""
    nearby = Nearby(collection.root)

    def look(place: tuple[Item, Path]) -> tuple[Item, Path, str | Finding]:
        """Return item, path, and the content's hash or the problem with the file."""
        item, path = place
        try:
            if opener is not None:
                opener(path)
            return item, path, content_hash(path)
        except (SourceError, OSError) as error:
            file = item.sources[modality]
            hint = "" if exists(path) or looks_like_text(path.name) else nearby.hint(file)
            problem = f"{error}{hint}"
            return item, path, Finding(item.row, problem, id=item.id, file=file, modality=modality)

    missing: list[Finding] = []
    unreadable: list[Finding] = []
    first_ids: dict[bytes, str] = {}  # by the hash of the content
    further_ids: defaultdict[bytes, list[str]] = defaultdict(list)
    there = np.flatnonzero(collection.has(modality)).tolist()
    sources = collection.sources(modality)
    files = ((collection.items[place], Path(str(sources[place]))) for place in there)
    with map_in_threads(look, files, threads, ahead=_AHEAD) as looked:
        for item, path, result in track(looked, f"check {_plural(modality)}", len(there)):
            if isinstance(result, str):
                content = bytes.fromhex(result)
                if first_ids.setdefault(content, item.id) != item.id:
                    further_ids[content].append(item.id)
            else:
                (unreadable if exists(path) else missing).append(result)
    return FilesReport(
        read=len(first_ids) + sum(map(len, further_ids.values())),
        missing=tuple(missing),
        unreadable=tuple(unreadable),
        duplicates=tuple(
            (id_, *further_ids[content])
            for content, id_ in first_ids.items()
            if content in further_ids
        ),
    )


def _plural(modality: Modality) -> str:
    return MODALITIES[modality].plural


def _plain(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [finding.to_dict() for finding in findings]


def _alike(labels: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each group of labels that are probably the same."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in labels:
        groups[" ".join(name.casefold().split())].append(name)
    for names in groups.values():
        if len(names) > 1:
            yield f"labels {', '.join(map(repr, sorted(names)))} differ only in case or spaces"


def _counts(names: Iterable[str]) -> dict[str, int]:
    """Return how often each name occurs, the most frequent first, then by name."""
    return _sorted_counts(Counter(names))


def _sorted_counts(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
