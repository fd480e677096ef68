"""Small text files that people write: lists of ids, names of classes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.data.readers.base import encoding_of
from proxyhash.errors import DataError, UsageError
from proxyhash.payload import check_id

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["read_ids", "read_text_lines"]

_MOST_BYTES = 1 << 30


def read_text_lines(path: Path | str) -> list[str]:
    """Return the lines of a text file, or of standard input for "-", without their ends.

    The text is UTF-8, or UTF-16 or UTF-32 with a byte-order mark, which is removed. Lines end with
    LF, CR LF or CR.

    Raises:
        UsageError: there is no such file, or it cannot be read; standard input is closed.
        DataError: "PATH, line 3: not UTF-8 text; save the file as UTF-8".
    """
    if str(path) == "-":
        name = "standard input"
        if sys.stdin is None:
            raise UsageError("standard input is closed; give a file, or pipe the lines in")
        content = _read(getattr(sys.stdin, "buffer", None))
        if content is None:
            return _split(sys.stdin.read().removeprefix("\ufeff"))
    else:
        name = str(path)
        try:
            with Path(path).open("rb") as file:
                content = file.read(_MOST_BYTES)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{path} cannot be read: {reason}; give a file of lines") from error
    encoding = encoding_of(content[:4])
    try:
        return _split(content.decode(encoding))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}, line {line}: not {encoding.removesuffix('-sig').upper()} text; save the file "
            "as UTF-8"
        ) from error


def read_ids(path: Path | str) -> list[str]:
    """Return the ids in a text file, or in standard input for "-": one per line, each once.

    Blank lines and blanks around ids are left out.

    Raises:
        UsageError: the file cannot be read.
        DataError: "PATH, line 3: id 'x' has 600 characters; ..."; nothing can have this id.
    """
    found: dict[str, None] = {}
    for row, line in enumerate(read_text_lines(path), start=1):
        if not (id_ := line.strip()):
            continue
        try:
            found[check_id(id_)] = None
        except DataError as error:
            raise DataError(f"{path}, line {row}: {error}") from error
    return list(found)


def _read(stream: BinaryIO | None) -> bytes | None:
    return None if stream is None else stream.read()


def _split(text: str) -> list[str]:
    """Return the lines; only LF, CR LF and CR end one, and not what else `splitlines` takes."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
