"""The manifest readers there are: a decorator here, or the entry-point group `proxyhash.readers`.

A reader is a function from a manifest's path to its records, in order. To add one, decorate it with
`register_reader`; another package names it under the entry-point group, and the module is imported
when the readers are first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeAlias

from proxyhash.errors import check_option

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Problem", "Reader", "Record", "Records", "get_reader", "readers", "register_reader"]


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a manifest: the keys and values of an item, not yet checked."""

    row: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that cannot be used, and why."""

    row: int
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"


Records: TypeAlias = Iterator[Record | Problem]


@dataclass(frozen=True, slots=True)
class Reader:
    """A way to read manifests.

    Attributes:
        name: what `format=` calls it.
        read: path of a manifest -> its rows; raises ManifestError when the file as a whole is bad.
        names: file names that are always read this way, and looked for in a folder.
        suffixes: file suffixes that are read this way otherwise, in lower case.
        example: one or two lines that show what is expected.
    """

    name: str
    read: Callable[[Path], Records]
    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    example: str


_READERS: dict[str, Reader] = {}


def register_reader(
    name: str, *, names: tuple[str, ...] = (), suffixes: tuple[str, ...] = (), example: str = ""
) -> Callable[[Callable[[Path], Records]], Callable[[Path], Records]]:
    """Register the decorated function as a reader; see `Reader` for the arguments.

    Raises:
        ValueError: another function already has the name.
    """

    def register(read: Callable[[Path], Records]) -> Callable[[Path], Records]:
        if name in _READERS and _READERS[name].read is not read:
            raise ValueError(f"there already is a reader named {name!r}")
        _READERS[name] = Reader(name, read, names, suffixes, example)
        return read

    return register


def readers() -> Mapping[str, Reader]:
    """Return every reader by its name, those of other packages included."""
    _load_entry_points()
    return dict(_READERS)


def get_reader(name: str) -> Reader:
    """Return the reader called `name`.

    Raises:
        UsageError: "format is 'NAME'; it must be one of ...".
    """
    return readers()[check_option("format", name, readers())]


@cache
def _load_entry_points() -> None:
    import proxyhash.data.readers  # noqa: F401  (registers the readers of this package)

    for entry in entry_points(group="proxyhash.readers"):
        entry.load()
