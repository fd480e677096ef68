"""Reader of tables of text with a header line, separated by commas, semicolons, tabs or bars."""

from __future__ import annotations

import csv
from itertools import islice
from typing import TYPE_CHECKING

from proxyhash.data.item import item_keys
from proxyhash.data.readers.base import (
    Layout,
    Problem,
    Record,
    Records,
    Table,
    register_reader,
)
from proxyhash.data.readers.columns import CellType, check_columns, is_known, name_columns
from proxyhash.data.readers.csv_rows import SEPARATORS, Dialect, Row, clean_rows, rows_of, sniff
from proxyhash.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["read_csv", "read_keys", "read_table"]

_CHUNK = 1024  # rows whose cells are shown to their types together


@register_reader(
    "csv",
    suffixes=(".csv", ".tsv"),
    example='id,image,text,labels\n7,images/7.jpg,"a dog on a beach",dog|beach',
)
def read_csv(path: Path) -> Table:
    """Return one record per line below the header; its row is the line on which it starts.

    Commas, semicolons, tabs or bars are detected by the header, and so are blanks after them;
    the encoding by the byte-order mark, UTF-8 without one. Columns may have the names in
    `columns.ALIASES`. An empty cell is a missing value. A column, other than those of an item's
    keys, whose cells are all numbers, or all true or false, has such values.

    Raises:
        ManifestError: the file cannot be read, or its header is not one of a table of items.
    """
    return read_table(path)


def read_table(path: Path, *, rename: bool = True) -> Table:
    """Return the rows as `read_csv` does; without `rename` under the names of the header."""
    dialect = sniff(path)
    rows = rows_of(path, dialect)
    first = next(rows, None)
    if first is None:
        return Table(iter(()), Layout())
    header = [name.strip() for name in first[1]]
    keys, notes = _keys(path, header, dialect, rename=rename)
    untyped = {*item_keys(), *(() if rename else filter(is_known, header))}
    types = {
        place: CellType(comma=dialect.separator == ";")
        for place, key in enumerate(keys)
        if key and key not in untyped
    }
    clean = _all_clean(path, dialect, types, width=len(header))
    if not clean:
        types = {place: CellType(comma=kind.comma) for place, kind in types.items()}
        usable = (cells for _, cells, problem in rows if not problem)
        while chunk := list(islice(usable, _CHUNK)):
            _see(chunk, types)
    types = {place: kind for place, kind in types.items() if kind.name}
    layout = Layout(
        columns={key: name for key, name in zip(keys, header, strict=True) if key and key != name},
        types={keys[place]: each.name for place, each in types.items()},
        notes=(*dialect.notes, *notes),
        ids_from_images=rename and "id" not in keys,
    )
    again = clean_rows(path, dialect) if clean else rows_of(path, dialect)
    return Table(_records(again, keys, types), layout)


def read_keys(path: Path) -> list[str]:
    """Return the keys that the columns of a table hold, from its header alone.

    Raises:
        ManifestError: the file cannot be read.
    """
    first = next(rows_of(path, sniff(path)), None)
    return name_columns([name.strip() for name in first[1]]) if first else []


def _all_clean(path: Path, dialect: Dialect, types: Mapping[int, CellType], *, width: int) -> bool:
    """Show all cells to their types; return whether every row can be read without care."""
    chunk: list[list[str]] = []
    try:
        for _, cells, _ in islice(clean_rows(path, dialect), 1, None):
            if len(cells) != width:
                return False
            chunk.append(cells)
            if len(chunk) == _CHUNK:
                _see(chunk if types else (), types)
                chunk.clear()
    except (csv.Error, UnicodeError):
        return False
    _see(chunk, types)
    return True


def _see(rows: Sequence[list[str]], types: Mapping[int, CellType]) -> None:
    for place, kind in types.items():
        kind.see([cell for row in rows if (cell := row[place])])


def _keys(
    path: Path, header: list[str], dialect: Dialect, *, rename: bool
) -> tuple[list[str], list[str]]:
    """Return the key of each column, "" for one that is left out, and notes about them."""
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        listed = ", ".join(map(repr, header))
        raise ManifestError(f"{path}: the header must name each column once, but is {listed}")
    keys, notes = name_columns(header) if rename else list(header), []
    if len(header) > 1 and not header[0]:
        if "id" not in keys and "image" not in keys and rename:
            keys[0] = "id"
            notes.append("the first column, which has no name, taken as the id")
        else:
            notes.append("the first column, which has no name, left out")
    if rename:
        how = f", {SEPARATORS.get(dialect.separator, dialect.separator)} between them"
        check_columns(path, header, keys, how=how)
    return keys, notes


def _records(rows: Iterator[Row], keys: Sequence[str], types: Mapping[int, CellType]) -> Records:
    unnamed = [place for place, key in enumerate(keys) if place and not key]
    first_unnamed = not keys[0]
    next(rows)  # the header
    for row, cells, problem in rows:
        if problem:
            yield Problem(row, problem)
            continue
        if unnamed and (filled := [place for place in unnamed if cells[place]]):
            message = (
                f"cell {filled[0] + 1} is {cells[filled[0]]!r:.40}, but the header, which must "
                "name each column once, has no name for it; is a text with a separator not in "
                "quotes?"
            )
            yield Problem(row, message)
            continue
        values: dict[str, object] = {
            key: cell for key, cell in zip(keys, cells, strict=True) if cell
        }
        if first_unnamed:
            values.pop("", None)
        for place, kind in types.items():
            if cell := cells[place]:
                if (value := kind.value(cell)) is None:
                    del values[keys[place]]
                else:
                    values[keys[place]] = value
        yield Record(row, values)
