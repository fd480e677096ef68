"""Lines of a text file that a stranger wrote: bounded, decoded, byte-order mark removed."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from proxyhash.data.registry import Problem
from proxyhash.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MAX_LINE_BYTES", "read_lines"]

MAX_LINE_BYTES = 1 << 20


def read_lines(path: Path) -> Iterator[tuple[int, str] | Problem]:
    """Yield each line's number (from 1) and text with its line end, or what is wrong with it.

    After a line longer than `MAX_LINE_BYTES` nothing more is read.

    Raises:
        ManifestError: the file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            row = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                row += 1
                if len(line) > MAX_LINE_BYTES:
                    yield Problem(row, f"longer than {MAX_LINE_BYTES:,} bytes; nothing read after")
                    return
                if row == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                try:
                    yield row, line.decode("utf-8")
                except UnicodeDecodeError as error:
                    yield Problem(row, f"not UTF-8 text ({error.reason}); save the file as UTF-8")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or error}") from error
