"""Reader of data sets of the library `datasets`, as `save_to_disk` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.data.contained import open_arrow
from proxyhash.data.readers.base import Records, Table, register_reader
from proxyhash.data.readers.parquet import (
    BATCH_ROWS,
    batch_records,
    check_keys,
    has_bytes,
    in_a_row,
    is_content,
    layout_of,
    may_hold_images,
)
from proxyhash.errors import DataError, ManifestError, require_extra
from proxyhash.files import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["read_saved_dataset"]

_SPLITS, _STATE = "dataset_dict.json", "state.json"


@register_reader(
    "huggingface",
    names=(_SPLITS, _STATE),
    example="columns as in Parquet, saved by save_to_disk: an id, or images to name them by",
)
def read_saved_dataset(path: Path) -> Table:
    """Return one record per row of a saved `Dataset` or `DatasetDict`, whose keys are the split.

    Columns are those of Parquet; images that the data set has as bytes are read where they are, the
    others from their paths. The library itself is not needed.

    Raises:
        ManifestError: a file of the data set is missing or damaged, or its rows were selected or
            shuffled without `flatten_indices`.
        MissingExtraError: "reading a saved data set needs pyarrow: ...".
    """
    pyarrow = require_extra("pyarrow", extra="formats", purpose="reading a saved data set")
    require_extra("pyarrow.compute", extra="formats", purpose="reading a saved data set")
    parts = _parts(path)
    tables = []
    for inner, _ in parts:
        try:
            tables.append(open_arrow(path.parent / inner))
        except (OSError, ValueError) as error:
            raise ManifestError(f"{path.parent / inner} cannot be read: {error}") from error
    if not tables:
        return Table(iter(()), layout_of(pyarrow.schema([]), [], rename=True, pyarrow=pyarrow))
    keys = [
        check_keys(path, table.schema.names, rename=True, empty=not table.num_rows)
        for table in tables
    ]
    rows = [
        _rows(table, names, inner, pyarrow)
        for table, names, (inner, _) in zip(tables, keys, parts, strict=True)
    ]
    layout = layout_of(tables[0].schema, keys[0], rename=True, pyarrow=pyarrow)
    return Table(in_a_row(rows, [split for _, split in parts]), layout)


def _parts(path: Path) -> list[tuple[str, str | None]]:
    """Return the Arrow files of a data set, from the folder of `path`, each with its split."""
    if not path.is_file():
        raise ManifestError(f"{path} is not a file; give the folder that save_to_disk wrote")
    if path.name == _SPLITS:
        names = _value(path, "splits", list)
        splits = [name for name in names if isinstance(name, str) and "/" not in name]
        several = len(splits) > 1
        return [
            (f"{split}/{file}", split if several else None)
            for split in splits
            for file, _ in _parts(path.parent / split / _STATE)
        ]
    if _value(path, "_indices_files", list | None):
        raise ManifestError(
            f"{path.parent} has its rows in another order than its files; save it again after "
            "dataset.flatten_indices()"
        )
    files = [each.get("filename") for each in _value(path, "_data_files", list)]
    return [(name, None) for name in files if isinstance(name, str) and "/" not in name]


def _value(path: Path, key: str, kind: Any) -> Any:
    try:
        found = read_json(path)
    except DataError as error:
        raise ManifestError(str(error)) from error
    value = found.get(key) if isinstance(found, dict) else ...
    if not isinstance(value, kind) or not all(isinstance(each, dict | str) for each in value or ()):
        raise ManifestError(f"{path} has no {key!r}; it is not a file of a saved data set")
    return value


def _with_paths(
    table: Any, keys: Sequence[str], name: str, pyarrow: Any
) -> tuple[Any, Sequence[str]]:
    """Return a table with the paths of images in place of their bytes, and its keys."""
    column = table.column(name)
    names = [column.type.field(place).name for place in range(column.type.num_fields)]
    if "path" not in names:
        return table.drop_columns([name]), [key for key in keys if key != "image"]
    paths = pyarrow.compute.struct_field(column, "path")
    return table.set_column(table.schema.names.index(name), name, paths), keys


def _rows(table: Any, keys: Sequence[str], inner: str, pyarrow: Any) -> Records:
    name = table.schema.names[keys.index("image")] if "image" in keys else None
    there = None
    if name is not None and may_hold_images(table.schema.field(name).type, pyarrow):
        there = has_bytes(table.column(name), pyarrow)
        first = int(there.argmax()) if there.any() else None
        if first is None or is_content(table.column(name)[first]):
            table, keys = _with_paths(table, keys, name, pyarrow)
        else:
            there = None
    start = 0
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        images: list[str | None] = []
        if there is not None:
            images = [
                f"{inner}/{name}/{row + 1}" if there[row] else None
                for row in range(start, start + batch.num_rows)
            ]
        yield from batch_records(batch, keys, start, pyarrow, images=images)
        start += batch.num_rows
