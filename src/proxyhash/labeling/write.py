"""Write what was found: a manifest with probabilities, a page, edits to fill in, a record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.data import MODALITIES
from proxyhash.errors import UsageError
from proxyhash.files import holds, write_atomic, write_json, write_text
from proxyhash.labeling.edits import template
from proxyhash.labeling.page import render_classes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Collection, Item
    from proxyhash.labeling.found import FoundClasses

__all__ = ["EDITS", "MANIFEST", "PAGE", "RECORD", "check_folder", "write_labels"]

MANIFEST, PAGE, EDITS, RECORD = "items.jsonl", "classes.html", "edits.txt", "found.json"


def check_folder(folder: Path, collection: Collection, *, overwrite: bool = False) -> None:
    """Refuse a folder that has a manifest which is not of an earlier run of this; before long work.

    Raises:
        UsageError: the folder is a file, has such a manifest, or the collection itself is in it.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give one that the labels are written to")
    if folder.resolve() == collection.root.resolve():
        raise UsageError(
            f"{folder} is the folder of the collection, whose manifest is never replaced; give "
            "another one with --out"
        )
    ours = holds(folder, RECORD, keys=("way", "classes"))
    if (folder / MANIFEST).exists() and not ours and not overwrite:
        raise UsageError(
            f"{folder / MANIFEST} exists and `data label` did not write it; choose another folder, "
            "or replace it with --overwrite"
        )


def write_labels(
    folder: Path,
    collection: Collection,
    found: FoundClasses,
    *,
    options: Mapping[str, Any],
    edits: int = 0,
) -> None:
    """Write `items.jsonl`, `classes.html`, `found.json`, and `edits.txt` where there is none.

    Each is written to a temporary name and renamed. The manifest has everything that the
    collection's has but its labels; paths of images are relative to `folder`.

    Args:
        folder: to write to, made if it is missing.
        collection: the items.
        found: their classes, after the edits.
        options: what decided them, for the record and the page.
        edits: number of edits that were applied.
    """
    # The record comes first: a folder with it is ours, so that a killed run can be run again.
    write_json(folder / RECORD, _summary(collection, found, options, edits))
    with (
        write_atomic(folder / MANIFEST) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        for row, item in enumerate(collection.items):
            record = _record(item, collection.root, folder)
            record["labels"] = found.of_item(row)
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    page = render_classes(collection, found, options=options, edits=edits)
    write_text(folder / PAGE, page)
    if not (folder / EDITS).exists():
        write_text(folder / EDITS, template(found))


def _record(item: Item, root: Path, folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = {"id": item.id}
    for modality, source in item.sources.items():
        record[modality] = _path(root / source, folder) if MODALITIES[modality].is_file else source
    if item.split is not None:
        record["split"] = item.split
    return record | dict(item.payload)


def _path(path: Path, folder: Path) -> str:
    """Return a path relative to a folder, absolute where there is none."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 -- a link stays one
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return str(path)


def _summary(
    collection: Collection, found: FoundClasses, options: Mapping[str, Any], edits: int
) -> dict[str, Any]:
    counts, confidence = found.counts.tolist(), found.confidence.tolist()
    return {
        "version": 1,
        "way": found.way,
        "source": str(collection.path),
        "items": len(collection),
        "labeled": int(found.labels.any(axis=1).sum()),
        "edits": edits,
        "options": dict(options),
        "notes": list(found.notes),
        "classes": [
            {
                "name": each.name,
                "items": count,
                "confidence": round(sure, 4),
                "words": dict(each.words),
                "merged": list(each.merged),
            }
            for each, count, sure in zip(found.classes, counts, confidence, strict=True)
        ],
    }
