"""Reader of the `metadata.*` file of a Hugging Face image folder."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxyhash.data.readers.base import Layout, Problem, Record, Records, Table, register_reader
from proxyhash.data.readers.csv_table import read_table
from proxyhash.data.readers.jsonl import read_jsonl
from proxyhash.data.readers.parquet import read_parquet_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["read_imagefolder"]

_TEXT_COLUMNS = ("text", "caption", "prompt", "description")
_LABEL_COLUMNS = ("labels", "label", "tags", "categories", "category")
_TABLES: Mapping[str, Callable[[Path], Records]] = {
    ".csv": partial(read_table, rename=False),
    ".parquet": partial(read_parquet_table, rename=False),
    ".jsonl": read_jsonl,
}


@register_reader(
    "imagefolder",
    names=("metadata.jsonl", "metadata.csv", "metadata.parquet"),
    example='{"file_name": "7.jpg", "text": "a dog on a beach", "labels": ["dog", "beach"]}',
)
def read_imagefolder(path: Path) -> Table:
    """Return the records of the table, with columns named as users of `datasets` name them.

    `file_name` is the image, and the id if there is no `id`. The text is the first of `text`,
    `caption`, `prompt`, `description` that the row has; the labels are the first of `labels`,
    `label`, `tags`, `categories`, `category`.
    """
    read = _TABLES.get(path.suffix.lower(), read_jsonl)
    rows = read(path)
    layout = rows.layout if isinstance(rows, Table) else Layout()
    return Table(
        (row if isinstance(row, Problem) else _rename(row) for row in rows),
        layout,
    )


def _rename(record: Record) -> Record | Problem:
    values = dict(record.values)
    _take(values, "image", ("image", "file_name"))
    if values.get("id") is None:
        if values.get("image") is None:
            return Problem(record.row, "file_name and id are both missing; give at least one")
        values["id"] = values["image"]
    _take(values, "text", _TEXT_COLUMNS)
    _take(values, "labels", _LABEL_COLUMNS)
    return Record(record.row, values)


def _take(values: dict[str, object], key: str, columns: tuple[str, ...]) -> None:
    """Move the first of `columns` that has a value to `key`."""
    for column in columns:
        if values.get(column) is not None:
            values[key] = values.pop(column)
            return
