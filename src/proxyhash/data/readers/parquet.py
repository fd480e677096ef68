"""Reader of Parquet tables, through pyarrow and without pandas."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.data.contained import PARQUET_SUFFIXES
from proxyhash.data.image_kinds import HEAD_BYTES, kind_of
from proxyhash.data.item import ITSELF, item_keys
from proxyhash.data.readers.base import (
    Layout,
    Problem,
    Record,
    Records,
    Table,
    register_reader,
    shard_files,
)
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
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "BATCH_ROWS",
    "batch_records",
    "check_keys",
    "has_bytes",
    "in_a_row",
    "is_content",
    "layout_of",
    "may_hold_images",
    "read_parquet",
    "read_parquet_table",
]

BATCH_ROWS = 1024
"""Rows that are converted to Python objects at a time."""

_TEXTS = ("id", "image", "text", "labels")  # as bytes, which some writers store strings as
_LONGEST_PATH = 4096


@register_reader(
    "parquet",
    suffixes=PARQUET_SUFFIXES,
    shards=True,
    example="columns id (string or integer), image (string, or the bytes of an image file), text "
    "(string), labels (list<string>)",
)
def read_parquet(path: Path) -> Table:
    """Return one record per row of a file, or of all in a folder, counted from 1.

    Columns may have the names in `columns.ALIASES`. Nulls are missing values. The payload has JSON
    values: decimals become numbers, dates and timestamps ISO 8601 texts, which sort as the times do
    (those with a time zone in UTC), durations seconds; binary values are dropped, and of struct
    fields with the same name the second is called "NAME (2)". A cell that has no such value is its
    row's problem.

    A column `image` with the bytes of image files, as such or as `datasets` has them in a struct,
    stays in the file: images are read when they are needed, from "FILE/image/ROW". A struct with a
    `path` alone is the path of an image.

    Raises:
        ManifestError: a file is not Parquet, or its columns are not those of a table of items.
        MissingExtraError: "reading Parquet needs pyarrow: pip install 'proxyhash[formats]'".
    """
    if path.is_file():
        return read_parquet_table(path)
    files = shard_files(path, PARQUET_SUFFIXES)
    tables = [
        read_parquet_table(file, inner=file.relative_to(path).as_posix()) for file, _ in files
    ]
    splits = [split for _, split in files]
    return Table(in_a_row(tables, splits), tables[0].layout)


def in_a_row(tables: Sequence[Iterator[Record | Problem]], splits: Sequence[str | None]) -> Records:
    """Yield the rows of several tables, counted on, with the split of each where a row has none."""
    start = 0
    for table, split in zip(tables, splits, strict=True):
        row = 0
        for entry in table:
            row = entry.row
            if isinstance(entry, Problem):
                yield Problem(start + row, entry.message)
                continue
            values = dict(entry.values)
            if split is not None and values.get("split") is None:
                values["split"] = split
            yield Record(start + row, values)
        start += row


def read_parquet_table(path: Path, *, rename: bool = True, inner: str | None = None) -> Table:
    """Return the rows of a file as `read_parquet` does.

    Args:
        path: the file.
        rename: whether columns may have other names.
        inner: the file's path from the folder of the manifest; default its name.
    """
    pyarrow, parquet = _libraries()
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            empty = file.metadata.num_rows == 0
            keys = check_keys(path, schema.names, rename=rename, empty=empty)
            image = _image_column(file, schema, keys, pyarrow)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ManifestError(_damaged(path, error)) from error
    rows = _rows(path, keys, image, inner or path.name)
    return Table(rows, layout_of(schema, keys, rename=rename, pyarrow=pyarrow))


def _damaged(path: Path, error: Exception) -> str:
    return (
        f"{path} cannot be read as Parquet: {error}; copy it again from the original, or write it "
        "again"
    )


def _libraries() -> tuple[Any, Any]:
    pyarrow, _, parquet = (
        require_extra(name, extra="formats", purpose="reading Parquet")
        for name in ("pyarrow", "pyarrow.compute", "pyarrow.parquet")
    )
    return pyarrow, parquet


def check_keys(path: Path, names: Sequence[str], *, rename: bool, empty: bool) -> list[str]:
    """Return the key that each column holds.

    Raises:
        ManifestError: a column is there twice, or none has the id or the image.
    """
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise ManifestError(f"{path}: the column {repeated[0]!r} is there twice; rename one")
    keys = name_columns(names) if rename else list(names)
    if rename and not empty:
        check_columns(path, names, keys, how="")
    return keys


def layout_of(schema: Any, keys: Sequence[str], *, rename: bool, pyarrow: Any) -> Layout:
    """Return what there is to say of the columns of an Arrow schema."""
    return Layout(
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
        notes=tuple(
            f"column {field.name} holds bytes, which are not read; call it image if they are images"
            for key, field in zip(keys, schema, strict=True)
            if key not in {"image", *_TEXTS} and may_hold_images(field.type, pyarrow)
        ),
    )


def may_hold_images(kind: Any, pyarrow: Any) -> bool:
    """Return whether cells of an Arrow type may be the bytes of image files."""
    if pyarrow.types.is_struct(kind):
        places = [place for place in range(kind.num_fields) if kind.field(place).name == "bytes"]
        return bool(places) and may_hold_images(kind.field(places[0]).type, pyarrow)
    types = pyarrow.types
    if types.is_dictionary(kind):
        return may_hold_images(kind.value_type, pyarrow)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def is_content(cell: Any) -> bool:
    """Return whether a cell that is not null holds a file, not a path that was stored as bytes."""
    value = cell.as_py()
    if isinstance(value, dict):
        return True
    return len(value) > _LONGEST_PATH or kind_of(value[:HEAD_BYTES]) is not None


def has_bytes(column: Any, pyarrow: Any) -> NDArray[np.bool_]:
    """Return which cells of a column of images have bytes, bool (n,)."""
    valid = column.is_valid()
    if pyarrow.types.is_struct(column.type):
        inner = pyarrow.compute.struct_field(column, "bytes")
        valid = pyarrow.compute.and_(valid, inner.is_valid())
    found: NDArray[np.bool_] = np.asarray(valid.to_numpy(zero_copy_only=False), dtype=np.bool_)
    return found


def batch_records(
    batch: Any, keys: Sequence[str], start: int, pyarrow: Any, *, images: Sequence[str | None] = ()
) -> Records:
    """Yield the rows of an Arrow batch.

    Args:
        batch: of the columns.
        keys: of its columns.
        start: number of rows before it.
        pyarrow: the module.
        images: where images stay in the file: by row, the path of each, in place of the cell; None
            for a row whose image is not there.
    """
    columns = [column_cells(column, pyarrow) for column in batch.columns]
    for place, key in enumerate(keys):
        if key in _TEXTS and any(isinstance(cell, bytes) for cell in columns[place]):
            else_ = f"it {ITSELF.format(plural='images')}" if key == "image" else ""
            columns[place] = [decoded(cell, else_=else_) for cell in columns[place]]
        if key == "image":
            columns[place] = [_path_in(cell) for cell in columns[place]]
    rows = zip(*columns, strict=True) if columns else [()] * batch.num_rows
    for place, cells in enumerate(rows):
        values: dict[str, object] = {}
        problem = None
        image = images[place] if images else None
        for key, name, cell in zip(keys, batch.schema.names, cells, strict=True):
            if key == "image" and image is not None:
                values[key] = image
            elif isinstance(cell, BadCell):
                problem = problem or Problem(start + place + 1, f"column {name}: {cell.reason}")
            elif cell is not None and not isinstance(cell, bytes):
                values[key] = None if cell is NOT_FINITE else cell
        if image is not None:
            values["image"] = image
        yield problem or Record(start + place + 1, values)


def _path_in(cell: object) -> object:
    """Return the path of an image that `datasets` has not taken in, any other cell as it is."""
    if isinstance(cell, dict) and isinstance(cell.get("path", ...), str | None):
        return cell["path"]
    return cell


def _image_column(file: Any, schema: Any, keys: Sequence[str], pyarrow: Any) -> str | None:
    """Return the column that holds image files, which are left there; None for no such column."""
    if "image" not in keys:
        return None
    name: str = schema.names[keys.index("image")]
    if not may_hold_images(schema.field(name).type, pyarrow):
        return None
    if pyarrow.types.is_struct(schema.field(name).type):  # whose rows may also be paths
        return name
    for group in range(file.metadata.num_row_groups):
        for batch in file.iter_batches(batch_size=16, row_groups=[group], columns=[name]):
            for cell, there in zip(
                batch.column(0), has_bytes(batch.column(0), pyarrow), strict=True
            ):
                if there:
                    return name if is_content(cell) else None
            break  # looking at the first rows of each group is quick
    return None


def _rows(path: Path, keys: Sequence[str], image: str | None, inner: str) -> Records:
    """Yield the rows of every group; one that is damaged costs no other."""
    pyarrow, parquet = _libraries()
    row = 0
    try:
        with parquet.ParquetFile(path) as file:
            groups = file.metadata.num_row_groups
            names = [name for name in file.schema_arrow.names if name != image]
            key_of = dict(zip(file.schema_arrow.names, keys, strict=True))
            beside = _path_field(file.schema_arrow, image)
            ends = [0]
            for group in range(groups):
                ends.append(ends[-1] + file.metadata.row_group(group).num_rows)
            for group in range(groups):
                row = start = ends[group]
                try:
                    there = None if image is None else _has_images(file, group, image, pyarrow)
                    also = beside if there is not None and not there.all() else []
                    for batch in file.iter_batches(
                        batch_size=BATCH_ROWS, row_groups=[group], columns=[*names, *also]
                    ):
                        paths: list[str | None] = []
                        if there is not None:
                            some = there[row - start : row - start + batch.num_rows]
                            paths = [
                                f"{inner}/{image}/{row + place + 1}" if has else None
                                for place, has in enumerate(some.tolist())
                            ]
                        held = [key_of[name] for name in batch.schema.names]
                        yield from batch_records(batch, held, row, pyarrow, images=paths)
                        row += batch.num_rows
                except (OSError, ValueError, pyarrow.ArrowException) as error:
                    message = f"rows {row + 1:,} to {ends[group + 1]:,} cannot be read ({error})"
                    yield Problem(row + 1, message)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ManifestError(_damaged(path, error)) from error


def _path_field(schema: Any, image: str | None) -> list[str]:
    """Return the field with the paths of images that are not in the file, if there is one."""
    kind: Any = None if image is None else schema.field(image).type
    fields = range(getattr(kind, "num_fields", 0))
    return [f"{image}.path" for place in fields if kind.field(place).name == "path"]


def _has_images(file: Any, group: int, name: str, pyarrow: Any) -> NDArray[np.bool_]:
    """Return which rows of a group have an image, from its statistics where they tell."""
    part = file.metadata.row_group(group)
    parts = [part.column(place) for place in range(part.num_columns)]
    leaves = [each for each in parts if each.path_in_schema in (name, f"{name}.bytes")]
    counts = leaves[0].statistics if len(leaves) == 1 else None
    if counts is not None and counts.has_null_count and counts.null_count in (0, part.num_rows):
        return np.full(part.num_rows, not counts.null_count, np.bool_)
    batches = file.iter_batches(batch_size=64, row_groups=[group], columns=[name])
    return np.concatenate([has_bytes(batch.column(0), pyarrow) for batch in batches])


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
