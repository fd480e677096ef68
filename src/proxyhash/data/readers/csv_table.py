"""Reader of comma- or tab-separated tables with a header line."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from proxyhash.data.readers.base import Problem, Record, Records, read_lines, register_reader
from proxyhash.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["parse_labels", "read_csv"]


@register_reader(
    "csv",
    suffixes=(".csv", ".tsv"),
    example='id,image,text,labels\n7,images/7.jpg,"a dog on a beach",dog|beach',
)
def read_csv(path: Path) -> Records:
    """Yield one record per line below the header; its row is the line on which it starts.

    An empty cell is a missing value. The cell `labels` is read by `parse_labels`, any other is kept
    as a string, numbers too. A file that ends in `.tsv` is separated by tabs, any other by commas.

    Raises:
        ManifestError: a column of the header is repeated or blank, or a line is not CSV.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    table = csv.reader(_text_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    row = 1
    try:
        for cells in table:
            if header is None and any(cells):
                header = _check_header(path, cells)
            elif header is not None and any(cells):
                yield _record(row, header, cells)
            row = table.line_num + 1
    except csv.Error as error:
        raise ManifestError(f"{path}, row {row}: not valid CSV ({error})") from error


def parse_labels(cell: str) -> object:
    """Return the names in one cell.

    A cell that begins with `[` is a JSON list. Any other is split at `|`, or at `;` if it has no
    `|`; blanks around names and empty names are dropped.
    """
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    names = cell.split("|" if "|" in cell else ";")
    return [name.strip() for name in names if name.strip()]


def _text_lines(path: Path) -> Iterator[str]:
    for line in read_lines(path):
        if isinstance(line, Problem):
            raise ManifestError(f"{path}, {line}")
        yield line[1]


def _check_header(path: Path, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if "" in header or len(set(header)) < len(header):
        raise ManifestError(
            f"{path}: the header must name each column once, but is {', '.join(map(repr, header))}"
        )
    return header


def _record(row: int, header: list[str], cells: list[str]) -> Record | Problem:
    if len(cells) != len(header):
        return Problem(row, f"{len(cells)} cells, but the header has {len(header)}")
    values: dict[str, object] = {
        name: cell for name, cell in zip(header, cells, strict=True) if cell
    }
    if "labels" in values:
        values["labels"] = parse_labels(str(values["labels"]))
    return Record(row, values)
