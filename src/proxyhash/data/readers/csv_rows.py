"""Rows of tables of text: detect how one is written, and read on after rows that are not CSV."""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TextIO, TypeAlias

from proxyhash.data.readers.base import MAX_LINE_BYTES, encoding_of, not_text, skip_line
from proxyhash.data.readers.columns import is_known
from proxyhash.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["SEPARATORS", "Dialect", "Row", "clean_rows", "rows_of", "sniff"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_ESCAPED = re.compile("[\udc80-\udcff]")  # what stands for bytes that are not UTF-8
_MAX_PIPE = 1 << 30


@dataclass(frozen=True)
class Dialect:
    """Form of a table of text.

    Attributes:
        separator: between cells.
        blanks: whether there are blanks after separators.
        skip: number of lines before the header.
        notes: what is unusual.
        content: the bytes of a pipe, which can be read only once; None for a file.
    """

    separator: str
    blanks: bool
    skip: int
    notes: tuple[str, ...]
    content: bytes | None


Row: TypeAlias = tuple[int, list[str], str]  # the row, its cells, and its problem or ""


@contextmanager
def _opened(
    path: Path, content: bytes | None, *, strict: bool = False
) -> Iterator[tuple[TextIO, str]]:
    """Yield the decoded file and its encoding; bytes that are not text become lone surrogates.

    With `strict` they are a UnicodeDecodeError instead.
    """
    try:
        with path.open("rb") if content is None else io.BufferedReader(io.BytesIO(content)) as file:
            encoding = encoding_of(file.peek(4)[:4])
            errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
            errors = "strict" if strict else errors
            yield io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=""), encoding
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error


def sniff(path: Path) -> Dialect:
    """Return the form of a table, by its first line with content and the one after it."""
    content = None
    if path.exists() and not path.is_file() and not path.is_dir():
        content = _content(path)
    with _opened(path, content) as (file, encoding):
        lines: list[str] = []
        skip = 0
        while len(lines) < 2 and (line := file.readline(MAX_LINE_BYTES)):
            if line.strip():
                lines.append(line.rstrip("\r\n"))
            elif not lines:
                skip += 1
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    separator = usual
    if lines and (said := re.fullmatch('"?sep=(.)"?', lines[0], re.IGNORECASE)):
        separator, skip = said[1], skip + 1  # a line that Excel writes and reads
        lines = lines[1:]
    elif lines:
        separator = max((usual, *SEPARATORS), key=lambda each: _likeness(lines[0], each))
    blanks = False
    for line in lines:
        rest = [cell for cell in line.split(separator)[1:] if cell.strip()]
        blanks = blanks or (bool(rest) and all(cell.startswith(" ") for cell in rest))
    notes = []
    if separator != usual:
        notes.append(f"separated by {SEPARATORS.get(separator, repr(separator))}")
    if not encoding.startswith("utf-8"):
        notes.append(encoding.upper())
    return Dialect(separator, blanks, skip, tuple(notes), content)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_PIPE + 1)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > _MAX_PIPE:
        raise ManifestError(f"{path} is a pipe or device that gives more than {_MAX_PIPE:,} bytes")
    return content


def _likeness(line: str, separator: str) -> tuple[int, int]:
    try:
        cells = next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        cells = line.split(separator)
    return sum(map(is_known, cells)), len(cells)


class _Lines:
    """Lines of a file for `csv.reader`, which can be read again from the second of a record on."""

    def __init__(self, file: TextIO) -> None:
        self.row = 0
        self.taken: list[str] = []
        self._file = file
        self._again: deque[str] = deque()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        again = bool(self._again)
        line = self._again.popleft() if again else self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.row += 1
        self.taken.append(line)
        if len(line) > MAX_LINE_BYTES:
            if not again and not skip_line(self._file, line):
                self._file.seek(0, io.SEEK_END)
            raise csv.Error(f"longer than {MAX_LINE_BYTES:,} characters")
        return line

    def step_back(self) -> None:
        """Give all lines of the record but the first again."""
        rest = self.taken[1:]
        self._again.extendleft(reversed(rest))
        self.row -= len(rest)


def clean_rows(path: Path, dialect: Dialect) -> Iterator[Row]:
    """Yield what `rows_of` does for a table without any problem, in half the time.

    Raises:
        csv.Error: a line is not CSV or too long.
        UnicodeError: a line is not text.
    """
    with _opened(path, dialect.content, strict=True) as (file, _):
        lines = _bounded(file)
        for _ in range(dialect.skip):
            next(lines, None)
        table = csv.reader(
            lines, delimiter=dialect.separator, skipinitialspace=dialect.blanks, strict=True
        )
        row = dialect.skip + 1
        for cells in table:
            if any(cells):
                yield row, cells, ""
            row = dialect.skip + table.line_num + 1


def _bounded(file: TextIO) -> Iterator[str]:
    for line in iter(partial(file.readline, MAX_LINE_BYTES + 1), ""):
        if len(line) > MAX_LINE_BYTES:
            raise csv.Error(f"longer than {MAX_LINE_BYTES:,} characters")
        yield line


def rows_of(path: Path, dialect: Dialect) -> Iterator[Row]:
    """Yield the header and then every record with content, as many cells as the header has.

    A record that cannot be used costs only its first line; the next ones are read again.
    """
    if csv.field_size_limit() < MAX_LINE_BYTES:  # of the whole process, so it is only raised
        csv.field_size_limit(MAX_LINE_BYTES)
    with _opened(path, dialect.content) as (file, encoding):
        lines = _Lines(file)
        for _ in range(dialect.skip):
            next(lines, None)
        table = csv.reader(
            lines, delimiter=dialect.separator, skipinitialspace=dialect.blanks, strict=True
        )
        header: list[str] = []
        taken = lines.taken
        while True:
            row, problem = lines.row + 1, ""
            taken.clear()
            try:
                cells = next(table)
            except StopIteration:
                return
            except csv.Error as error:
                cells = _literal(taken, dialect, header)
                problem = "" if cells else _sentence(error)
                lines.step_back()
            else:
                if not any(cells):
                    continue
                if header and len(cells) != len(header):
                    problem = _fit(cells, header)
                    if problem and len(taken) > 1:
                        lines.step_back()
            if not problem and not (taken[0].isascii() and len(taken) == 1):
                problem = _foreign(cells, header, encoding)
            if not header:
                if problem:
                    raise ManifestError(f"{path}, row {row}: {problem}")
                header = cells
            yield row, cells, problem


def _literal(taken: Sequence[str], dialect: Dialect, header: Sequence[str]) -> list[str]:
    """Return the cells of a line whose quotes are part of its texts, as in many files with tabs."""
    if dialect.separator != "\t" or len(taken[0]) > MAX_LINE_BYTES:
        return []
    cells = taken[0].rstrip("\r\n").split("\t")
    return cells if len(cells) == len(header) else []


def _sentence(error: csv.Error) -> str:
    text = str(error)
    if text.startswith("longer"):
        return text
    if "field limit" in text:
        text = f"a cell is longer than {MAX_LINE_BYTES:,} characters"
    return f"not valid CSV ({text}); a quote may not be closed, or not be written twice"


def _fit(cells: list[str], header: Sequence[str]) -> str:
    """Give the cells the header's number where that loses nothing, else return the problem."""
    if len(cells) > len(header) and not any(cells[len(header) :]):
        del cells[len(header) :]
    elif len(cells) == len(header) - 1 and not header[-1].strip():
        cells.append("")
    if len(cells) != len(header):
        unit = "cell" if len(cells) == 1 else "cells"
        quotes = "; is a text with a separator not in quotes?" if len(cells) > len(header) else ""
        return f"{len(cells)} {unit}, but the header has {len(header)}{quotes}"
    return ""


def _foreign(cells: Sequence[str], header: Sequence[str], encoding: str) -> str:
    """Return the problem of the first cell whose bytes are not text."""
    stand_in = "\ufffd" if not encoding.startswith("utf-8") else None
    for place, cell in enumerate(cells):
        if not cell.isascii() and (_ESCAPED.search(cell) or (stand_in and stand_in in cell)):
            name = header[place].strip() if header else ""
            return f"column {name or place + 1}: {not_text(encoding)}"
    return ""
