"""Columns of a table: which key of an item each one holds, and the type of its cells."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.data.item import item_keys
from proxyhash.errors import ManifestError
from proxyhash.payload import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ALIASES", "CellType", "check_columns", "is_known", "name_columns"]

ALIASES = {
    "image": (
        *("filename", "file_name", "image_path", "path", "file", "image_name", "image_file"),
        *("img", "img_path", "file_path", "filepath"),
    ),
    "text": ("caption", "captions", "title", "description", "comment", "prompt"),
    "labels": ("label", "classes", "class", "tags", "category", "categories"),
}
"""Other names of columns, by the key of an item that they hold; the first that is there counts."""

_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NUMBERS = re.compile(rf"(?:{_NUMBER.pattern})(?:\n(?:{_NUMBER.pattern}))*")
_WITH_COMMA = re.compile(r"-?(?:0|[1-9][0-9]*),[0-9]+")
_BOOLEANS = {"true": True, "false": False}
_MISSING = frozenset({"nan", "na", "n/a", "#n/a", "null", "none"})
_LONGEST = 40


def _fold(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip()).casefold()


def is_known(name: str) -> bool:
    """Return whether a column's name is a key of an item or stands for one."""
    folded = _fold(name)
    return folded in item_keys() or any(folded in names for names in ALIASES.values())


def name_columns(header: Sequence[str]) -> list[str]:
    """Return the key that each column holds: an item's key, or the column's own name.

    A column with exactly the name of a key holds it. Otherwise the first one counts that has this
    name in other letters ("Image"), then the first of `ALIASES`.
    """
    keys = list(header)
    folded = [_fold(name) for name in header]
    for key in item_keys():
        if key in header:
            continue
        for name in (key, *ALIASES.get(key, ())):
            if name in folded:
                keys[folded.index(name)] = key
                break
    return keys


def check_columns(path: Path, header: Sequence[str], keys: Sequence[str], *, how: str) -> None:
    """Check that items can be told apart by an id or an image.

    Raises:
        ManifestError: "PATH: no column has the id or the image; found 'a', 'b' (HOW); expected
            ...".
    """
    if "id" in keys or "image" in keys:
        return
    found = ", ".join(repr(name) for name in header[:12]) + (", ..." if len(header) > 12 else "")
    expected = "; ".join(
        f"{' or '.join((key, *names[:5]))} for {what}"
        for (key, names), what in zip(
            ALIASES.items(), ("the image's path", "the text", "the labels"), strict=True
        )
    )
    raise ManifestError(
        f"{path}: the first line names no column for the id or the image; columns found{how}: "
        f"{found}; expected: id for a unique name, {expected}"
    )


@dataclass(slots=True)
class CellType:
    """The type of a column of cells, which are shown to `see` part by part.

    Cells are numbers when all are, written in the usual way: no leading zeros or plus signs, which
    codes and telephone numbers have, and no integer of more than 64 bits. A comma may take the
    place of the point where `comma` allows it and some cell cannot be thousands.
    """

    comma: bool = False
    _points: bool = False
    _commas: bool = False
    _sure: bool = False
    _booleans: bool = False
    _numbers: bool = False
    _mixed: bool = False

    def see(self, cells: Sequence[str]) -> None:
        """Take cells into account, none of them empty."""
        if self._mixed or not cells:
            return
        joined = "\n".join(cells)
        if (  # the usual case, in one step
            not (self._booleans or self._commas)
            and len(max(cells, key=len)) < 18
            and "e" not in joined
            and "E" not in joined
            and _NUMBERS.fullmatch(joined)
            and joined.count("\n") == len(cells) - 1
        ):
            self._numbers = True
            self._points = self._points or "." in joined
            return
        for cell in cells:
            self._mixed = (
                len(cell) > _LONGEST
                or not self._see(cell)
                or (self._booleans and self._numbers)
                or (self._commas and self._points)
            )
            if self._mixed:
                return

    def _see(self, cell: str) -> bool:
        if _NUMBER.fullmatch(cell):
            self._numbers = True
            if cell.isdigit() or cell.lstrip("-").isdigit():
                return len(cell) < 18 or abs(int(cell)) <= MAX_INTEGER
            self._points = True
            return math.isfinite(float(cell))
        if self.comma and _WITH_COMMA.fullmatch(cell):
            self._numbers = self._commas = True
            self._sure = self._sure or len(cell.partition(",")[2]) != 3
            return True
        if cell.lower() in _BOOLEANS:
            self._booleans = True
            return True
        return cell.lower() in _MISSING

    @property
    def name(self) -> str:
        """Name of the type: "numbers", "true or false", or "" for texts."""
        if self._mixed or not (self._booleans or self._numbers):
            return ""
        if self._commas:
            return "numbers with a decimal comma" if self._sure else ""
        return "numbers" if self._numbers else "true or false"

    def value(self, cell: str) -> float | bool | None:
        """Return the value of a cell, None for one that says that it is missing."""
        if cell.isdigit():
            return int(cell)
        lowered = cell.lower()
        if lowered in _MISSING:
            return None
        if self._booleans:
            return _BOOLEANS[lowered]
        if self._commas:
            cell = cell.replace(",", ".")
        return int(cell) if cell.lstrip("-").isdigit() else float(cell)
