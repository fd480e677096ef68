"""Reader of the `metadata.*` file of a Hugging Face image folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.data.readers.base import Problem, Record, Records, register_reader
from proxyhash.data.readers.csv_table import parse_labels, read_csv
from proxyhash.data.readers.jsonl import read_jsonl
from proxyhash.data.readers.parquet import read_parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["read_imagefolder"]

_TEXT_COLUMNS = ("text", "caption", "prompt", "description")
_LABEL_COLUMNS = ("labels", "label", "tags", "categories", "category")
_TABLES: Mapping[str, Callable[[Path], Records]] = {
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".jsonl": read_jsonl,
}


@register_reader(
    "imagefolder",
    names=("metadata.jsonl", "metadata.csv", "metadata.parquet"),
    example='{"file_name": "7.jpg", "text": "a dog on a beach", "labels": ["dog", "beach"]}',
)
def read_imagefolder(path: Path) -> Records:
    """Yield the records of the table, with columns named as users of `datasets` name them.

    `file_name` is the image, and the id if there is no `id`. The text is the first of `text`,
    `caption`, `prompt`, `description` that the row has; the labels are the first of `labels`,
    `label`, `tags`, `categories`, `category`, and a single name counts as a list of one.
    """
    read = _TABLES.get(path.suffix.lower(), read_jsonl)
    for record in read(path):
        yield record if isinstance(record, Problem) else _rename(record)


def _rename(record: Record) -> Record | Problem:
    values = dict(record.values)
    _take(values, "image", ("image", "file_name"))
    if values.get("id") is None:
        if values.get("image") is None:
            return Problem(record.row, "file_name and id are both missing; give at least one")
        values["id"] = values["image"]
    _take(values, "text", _TEXT_COLUMNS)
    _take(values, "labels", _LABEL_COLUMNS)
    if isinstance(values.get("labels"), str):
        values["labels"] = parse_labels(str(values["labels"]))
    return Record(record.row, values)


def _take(values: dict[str, object], key: str, columns: tuple[str, ...]) -> None:
    """Move the first of `columns` that has a value to `key`."""
    for column in columns:
        if values.get(column) is not None:
            values[key] = values.pop(column)
            return
