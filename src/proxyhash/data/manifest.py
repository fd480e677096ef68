"""Read a manifest: find the file, parse its rows, collect the problems found."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.data.collection import Collection
from proxyhash.data.item import Item, ItemError, item_from_record, item_keys
from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.data.readers.base import READERS, Problem, Reader, Record
from proxyhash.errors import ManifestError, UsageError, check_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ON_BAD_ITEM", "Scan", "find_manifest", "read_collection", "scan_manifest"]

ON_BAD_ITEM = ("fail", "skip")

_SHOWN_PROBLEMS = 5
_OTHER_NAMES = {
    "caption": "text",
    "captions": "text",
    "description": "text",
    "category": "labels",
    "categories": "labels",
    "class": "labels",
    "label": "labels",
    "tags": "labels",
    "file": "image",
    "file_name": "image",
    "filename": "image",
    "image_path": "image",
    "path": "image",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scan:
    """Result of reading a manifest: its items, and the rows that cannot be used.

    Attributes:
        path: the manifest file.
        format: the name of the reader.
        items: the valid ones, in order.
        problems: rows that are not a valid item, in order of row.
        duplicates: rows whose id is already used, in order of row; not among the items.
        blank: by modality that is not a file, rows that have one without any content.
        hints: sentences about keys that look misspelled.
    """

    path: Path
    format: str
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    duplicates: tuple[Problem, ...]
    blank: Mapping[Modality, tuple[int, ...]]
    hints: tuple[str, ...]

    @property
    def bad_rows(self) -> list[Problem]:
        """Problems and duplicates together, in order of row."""
        return sorted((*self.problems, *self.duplicates), key=lambda problem: problem.row)


def read_collection(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002
    on_bad_item: str = "fail",
) -> Collection:
    """Return the items of a manifest.

    Args:
        path: a manifest, or a folder with one in it; see `find_manifest`.
        format: the reader's name; auto-detected from the file name by default.
        on_bad_item: `fail` at rows that are not a valid item, or `skip` them with a warning.

    Raises:
        ManifestError: "PATH: 3 of 20 rows cannot be used: row 4: ...; row 9: ..."; or there is no
            manifest, or no item in it.
        UsageError: an option has a value that is not allowed.
    """
    check_option("on_bad_item", on_bad_item, ON_BAD_ITEM)
    scan = scan_manifest(path, format=format)
    for hint in scan.hints:
        _log.warning("%s: %s", scan.path, hint)
    if scan.bad_rows:
        summary = _summary(scan)
        if on_bad_item == "fail" or not scan.items:
            raise ManifestError(f"{scan.path}: {summary}. `proxyhash data check` lists all of them")
        _log.warning("%s: skipping rows: %s", scan.path, summary)
    return Collection.of(scan.path, scan.items, skipped=len(scan.bad_rows))


def scan_manifest(path: Path | str, *, format: str | None = None) -> Scan:  # noqa: A002
    """Return the items of a manifest and the problems with its rows.

    Raises:
        ManifestError: there is no manifest, it is empty, or it is unreadable as a whole.
        UsageError: `format` names no reader.
    """
    manifest, reader = find_manifest(path, format=format)
    items: dict[str, Item] = {}
    problems: list[Problem] = []
    duplicates: list[Problem] = []
    blank: dict[Modality, list[int]] = {
        name: [] for name, kind in MODALITIES.items() if not kind.is_file
    }
    strange_keys: Counter[tuple[str, str]] = Counter()
    misspelt = lru_cache(1024)(_misspelt)  # most rows have the same keys
    for entry in reader.read(manifest):
        item = entry if isinstance(entry, Problem) else _item(entry)
        if isinstance(item, Problem):
            problems.append(item)
            continue
        if item.id in items:
            first = items[item.id].row
            duplicates.append(Problem(item.row, f"id {item.id!r} is already used by row {first}"))
            continue
        items[item.id] = item
        assert isinstance(entry, Record)
        strange_keys.update(misspelt(frozenset(entry.values)))
        for name, rows in blank.items():
            if name not in item.sources and entry.values.get(name) is not None:
                rows.append(item.row)
    if not items and not problems:
        raise ManifestError(f"{manifest} has no items; expected: {reader.example}")
    return Scan(
        path=manifest,
        format=reader.name,
        items=tuple(items.values()),
        problems=tuple(problems),
        duplicates=tuple(duplicates),
        blank={name: tuple(rows) for name, rows in blank.items()},
        hints=tuple(
            f"{count} items have a key {key!r} and no {meant!r}; did you mean {meant!r}?"
            for (key, meant), count in sorted(strange_keys.items())
        ),
    )


def find_manifest(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002
) -> tuple[Path, Reader]:
    """Return the manifest file that `path` stands for, and its reader.

    A file is read by the reader that claims its name, else by the one that claims its suffix. In a
    folder, `items.jsonl` comes first, then `metadata.jsonl`, `metadata.csv` and the other names
    that readers claim; otherwise the folder must have exactly one file with a claimed suffix.

    Raises:
        ManifestError: there is no file, no reader claims it, or several files are candidates.
        UsageError: `format` names no reader.
    """
    path = Path(path)
    candidates = (
        [READERS[check_option("format", format, READERS)]] if format else list(_by_precedence())
    )
    if not path.exists():
        raise ManifestError(f"{path} does not exist; give a manifest file or its folder")
    manifest = _manifest_in(path, candidates) if path.is_dir() else path
    if format:
        return manifest, candidates[0]
    for reader in candidates:
        if manifest.name in reader.names:
            return manifest, reader
    for reader in candidates:
        if manifest.suffix.lower() in reader.suffixes:
            return manifest, reader
    raise UsageError(
        f"{manifest}: the format cannot be detected from the file name; it may be one of "
        f"{', '.join(READERS)}"
    )


def _by_precedence() -> Iterable[Reader]:
    """Return all readers, the native format first."""
    return [READERS["jsonl"], *(reader for name, reader in READERS.items() if name != "jsonl")]


def _manifest_in(folder: Path, candidates: list[Reader]) -> Path:
    names = [name for reader in candidates for name in reader.names]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    suffixes = {suffix for reader in candidates for suffix in reader.suffixes}
    found = sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix.lower() in suffixes and not file.name.startswith(".")
    )
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(file.name for file in found[:_SHOWN_PROBLEMS])
        raise ManifestError(
            f"{folder} holds {len(found)} files that could be the manifest ({listed}); choose one"
        )
    raise ManifestError(
        f"{folder} has no manifest; expected: {', '.join(names) or 'a file'}"
        f" or one file ending in {', '.join(sorted(suffixes))}"
    )


def _item(record: Record) -> Item | Problem:
    try:
        return item_from_record(record.values, row=record.row)
    except ItemError as error:
        return Problem(record.row, str(error))


def _misspelt(present: frozenset[str]) -> list[tuple[str, str]]:
    """Return each unknown key with the missing key that it resembles."""
    known, found = item_keys(), []
    missing = [key for key in known if key not in present]
    for key in present.difference(known):
        meant = _OTHER_NAMES.get(key.lower())
        close = [meant] if meant else get_close_matches(key.lower(), missing, n=1, cutoff=0.8)
        if close and close[0] in missing:
            found.append((key, close[0]))
    return found


def _summary(scan: Scan) -> str:
    bad = scan.bad_rows
    shown = "; ".join(map(str, bad[:_SHOWN_PROBLEMS]))
    more = f"; and {len(bad) - _SHOWN_PROBLEMS} more" if len(bad) > _SHOWN_PROBLEMS else ""
    return f"{len(bad)} of {len(bad) + len(scan.items)} rows cannot be used: {shown}{more}"
