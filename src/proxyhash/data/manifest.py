"""Read a manifest: find the file, parse its rows, collect the problems found."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.data.collection import Collection
from proxyhash.data.find import find_manifest
from proxyhash.data.gather import gather
from proxyhash.data.labels import Labels, read_classes
from proxyhash.data.packed import as_items
from proxyhash.data.places import place_images, recognized_sentence
from proxyhash.data.readers.base import Layout, Problem, Table
from proxyhash.errors import ManifestError, check_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.data.item import Item
    from proxyhash.data.modalities import Modality

__all__ = ["ON_BAD_ITEM", "Scan", "read_collection", "scan_manifest"]

ON_BAD_ITEM = ("fail", "skip")

_SHOWN_PROBLEMS = 5
_log = logging.getLogger(__name__)
_recognized_log = logging.getLogger("proxyhash.data.recognized")


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
        hints: sentences about keys that look misspelled and labels that look like several.
        types: by column of a table, what its cells became, such as "numbers".
        recognized: a sentence about what was found out about the files, or "".
    """

    path: Path
    format: str
    items: Sequence[Item]
    problems: tuple[Problem, ...]
    duplicates: tuple[Problem, ...]
    blank: Mapping[Modality, tuple[int, ...]]
    hints: tuple[str, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    recognized: str = ""

    @property
    def bad_rows(self) -> list[Problem]:
        """Problems and duplicates together, in order of row."""
        return sorted((*self.problems, *self.duplicates), key=lambda problem: problem.row)


def read_collection(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002
    on_bad_item: str = "fail",
    label_separator: str | None = None,
    drop_unstorable: bool = False,
) -> Collection:
    """Return the items of a manifest, or of a folder of images.

    Args:
        path: a manifest, a folder with one in it, or a folder of images; see `find_manifest`.
        format: the reader's name; auto-detected from the file name by default.
        on_bad_item: `fail` at rows that are not a valid item, or `skip` them with a warning.
        label_separator: what separates labels in a cell of text; by default `|`, or else `;`.
        drop_unstorable: leave out further keys that no index could store, with a warning, instead
            of taking their rows for bad ones.

    Raises:
        ManifestError: "PATH: 3 of 20 rows cannot be used: row 4: ...; row 9: ..."; or there is no
            manifest, or no item in it.
        UsageError: an option has a value that is not allowed.
    """
    check_option("on_bad_item", on_bad_item, ON_BAD_ITEM)
    scan = scan_manifest(
        path, format=format, label_separator=label_separator, drop_unstorable=drop_unstorable
    )
    if scan.recognized:
        _recognized_log.info("%s", scan.recognized)
    for hint in scan.hints:
        _log.warning("%s: %s", scan.path, hint)
    if scan.bad_rows:
        summary = _summary(scan)
        if on_bad_item == "fail" or not scan.items:
            raise ManifestError(f"{scan.path}: {summary}. `proxyhash data check` lists all of them")
        _log.warning("%s: skipping rows: %s", scan.path, summary)
    return Collection.of(
        scan.path, scan.items, skipped=len(scan.bad_rows), recognized=scan.recognized
    )


def scan_manifest(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002
    label_separator: str | None = None,
    drop_unstorable: bool = False,
) -> Scan:
    """Return the items of a manifest and the problems with its rows.

    Args:
        path: a manifest, a folder with one in it, or a folder of images; see `find_manifest`.
        format: the reader's name; auto-detected by default.
        label_separator: what separates labels in a cell of text; by default `|`, or else `;`.
        drop_unstorable: as of `read_collection`.

    Raises:
        ManifestError: there is no manifest, it is empty, or it is unreadable as a whole.
        UsageError: `format` names no reader, or the separator is empty.
    """
    manifest, reader = find_manifest(path, format=format)
    root = manifest if manifest.is_dir() else manifest.parent
    rows = reader.read(manifest)
    layout = rows.layout if isinstance(rows, Table) else Layout()
    labels = Labels(label_separator, lambda: layout.classes or read_classes(root))
    gathered = gather(rows, layout, labels, drop_unstorable=drop_unstorable)
    if not gathered.items and not gathered.problems:
        raise ManifestError(f"{manifest} has no items; expected: {reader.example}")
    items, prefix = place_images(gathered.items, root, Path(path))
    return Scan(
        path=manifest,
        format=reader.name,
        items=as_items(items),
        problems=tuple(gathered.problems),
        duplicates=tuple(gathered.duplicates),
        blank={name: tuple(rows) for name, rows in gathered.blank.items()},
        hints=tuple(gathered.hints(labels)),
        types=layout.types,
        recognized=recognized_sentence(
            manifest,
            items,
            layout,
            prefix=prefix,
            joined=gathered.joined,
            numbered=labels.numbers,
        ),
    )


def _summary(scan: Scan) -> str:
    bad = scan.bad_rows
    shown = "; ".join(map(str, bad[:_SHOWN_PROBLEMS]))
    more = f"; and {len(bad) - _SHOWN_PROBLEMS} more" if len(bad) > _SHOWN_PROBLEMS else ""
    return f"{len(bad)} of {len(bad) + len(scan.items)} rows cannot be used: {shown}{more}"
