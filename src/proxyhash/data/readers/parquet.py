"""Reader of Parquet tables, through pyarrow and without pandas."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from proxyhash.data.item import ITSELF, item_keys
from proxyhash.data.readers.base import Layout, Problem, Record, Records, Table, register_reader
from proxyhash.data.readers.columns import check_columns, name_columns
from proxyhash.data.readers.parquet_cells import (
    NOT_FINITE,
    BadCell,
    column_cells,
    decoded,
    type_name,
)
from proxyhash.errors import ManifestError, require_extra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["read_parquet", "read_parquet_table"]

_BATCH_ROWS = 1024  # rows converted to Python objects at a time
_TEXTS = ("id", "image", "text")  # as bytes, which some writers store strings as


@register_reader(
    "parquet",
    suffixes=(".parquet", ".pq"),
    example="columns id (string or integer), image (string), text (string), labels (list<string>)",
)
def read_parquet(path: Path) -> Table:
    """Return one record per row, counted from 1; nulls are missing values.

    Columns may have the names in `columns.ALIASES`. The payload has JSON values: decimals become
    numbers, dates and timestamps ISO 8601 texts, which sort as the times do (those with a time
    zone in UTC), durations seconds; binary values are dropped, and of struct fields with the same
    name the second is called "NAME (2)". A cell that has no such value is its row's problem.

    Raises:
        ManifestError: the file is not Parquet, or its columns are not those of a table of items.
        MissingExtraError: "reading Parquet needs pyarrow: pip install 'proxyhash[formats]'".
    """
    return read_parquet_table(path)


def read_parquet_table(path: Path, *, rename: bool = True) -> Table:
    """Return the rows as `read_parquet` does; without `rename` under the names of the columns."""
    pyarrow = require_extra("pyarrow", extra="formats", purpose="reading Parquet")
    parquet = require_extra("pyarrow.parquet", extra="formats", purpose="reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            empty = file.metadata.num_rows == 0
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {error}") from error
    if repeated := [name for name, times in Counter(schema.names).items() if times > 1]:
        raise ManifestError(f"{path}: the column {repeated[0]!r} is there twice; rename one")
    keys = name_columns(schema.names) if rename else list(schema.names)
    if rename and not empty:
        check_columns(path, schema.names, keys, how="")
    layout = Layout(
        columns={key: name for key, name in zip(keys, schema.names, strict=True) if key != name},
        types={
            field.name: what
            for key, field in zip(keys, schema, strict=True)
            if key not in item_keys() and (what := type_name(field.type, pyarrow))
        },
        ids_from_images=rename and "id" not in keys,
        classes=_class_names(schema.metadata, schema.names[keys.index("labels")])
        if "labels" in keys
        else (),
    )
    return Table(_rows(path, keys, pyarrow, parquet), layout)


def _rows(path: Path, keys: Sequence[str], pyarrow: Any, parquet: Any) -> Records:
    """Yield the rows of every group; one that is damaged costs no other."""
    row = 0
    try:
        with parquet.ParquetFile(path) as file:
            groups = file.metadata.num_row_groups
            ends = [0]
            for group in range(groups):
                ends.append(ends[-1] + file.metadata.row_group(group).num_rows)
            for group in range(groups):
                row = ends[group]
                try:
                    for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group]):
                        yield from _batch_rows(batch, keys, row, pyarrow)
                        row += batch.num_rows
                except (OSError, ValueError, pyarrow.ArrowException) as error:
                    message = f"rows {row + 1:,} to {ends[group + 1]:,} cannot be read ({error})"
                    yield Problem(row + 1, message)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {error}") from error


def _batch_rows(batch: Any, keys: Sequence[str], start: int, pyarrow: Any) -> Records:
    columns = [column_cells(column, pyarrow) for column in batch.columns]
    for place, key in enumerate(keys):
        if key in _TEXTS and any(isinstance(cell, bytes) for cell in columns[place]):
            else_ = f"it {ITSELF.format(plural='images')}" if key == "image" else ""
            columns[place] = [decoded(cell, else_=else_) for cell in columns[place]]
    for place, cells in enumerate(zip(*columns, strict=True)):
        values, problem = {}, None
        for key, name, cell in zip(keys, batch.schema.names, cells, strict=True):
            if isinstance(cell, BadCell):
                problem = problem or Problem(start + place + 1, f"column {name}: {cell.reason}")
            elif cell is not None and not isinstance(cell, bytes):
                values[key] = None if cell is NOT_FINITE else cell
        yield problem or Record(start + place + 1, values)


def _class_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """Return the names of class numbers that the library `datasets` keeps in a table."""
    try:
        info = json.loads((metadata or {})[b"huggingface"])
        feature = info["info"]["features"][column]
        names = feature.get("feature", feature)["names"]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return ()
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known else ()
