"""Checks of what a database holds, since it may be damaged or come from a stranger."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["as_id", "as_payload", "check_schema", "content_errors", "read_state"]

_MAX_ROWS = 2**40
_ALSO = ("sqlite_stat1", "sqlite_stat4")
"""What SQLite's own ANALYZE adds."""


@contextmanager
def content_errors(path: Path) -> Iterator[None]:
    """Turn errors over values of a wrong type, range or number into one that names the file.

    Raises:
        DataError: "FILE is damaged (its content is not what an index holds: ...); ...".
    """
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(
            f"{path} is damaged (its content is not what an index holds: "
            f"{type(error).__name__}: {error!s:.100}); restore a snapshot"
        ) from error


def check_schema(connection: sqlite3.Connection, path: Path, schema: str) -> None:
    """Refuse a database with other tables, or with views, triggers or columns that are not ours.

    Raises:
        DataError: "FILE is damaged (it has a view 'items', ...); ...".
    """
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master"
    expected = _expected(schema, query)
    found = {entry for entry in connection.execute(query) if entry[1] not in _ALSO}
    if found != expected:
        (*_, kind, name) = min(
            (entry not in found, str(entry[0]), str(entry[1])) for entry in found ^ expected
        )
        raise DataError(
            f"{path} is damaged (its {kind} {name!r:.60} is not what an index has); "
            "restore a snapshot"
        )


@cache
def _expected(schema: str, query: str) -> frozenset[tuple[object, ...]]:
    with sqlite3.connect(":memory:") as ours:
        ours.executescript(schema)
        return frozenset(ours.execute(query))


def read_state(connection: sqlite3.Connection, path: Path) -> tuple[int, int, int]:
    """Return the number of the last change, and how many rows and items there are.

    Raises:
        DataError: "FILE is damaged (it counts ...); ...".
    """
    found = connection.execute("SELECT change, rows, items FROM state LIMIT 2").fetchall()
    match found:
        case [(int(change), int(rows), int(items))] if (
            change >= 0 and 0 <= items <= rows <= _MAX_ROWS
        ):
            return change, rows, items
    raise DataError(f"{path} is damaged (it counts {found!r:.100}); restore a snapshot")


def as_id(id_: object) -> str:
    """Return an id.

    Raises:
        ValueError: it is not a string.
    """
    if not isinstance(id_, str):
        raise ValueError(f"an id is {id_!r:.60}")  # noqa: TRY004
    return id_


def as_payload(text: object) -> dict[str, object]:
    """Return a payload that is stored as JSON.

    Raises:
        ValueError: it is not a JSON object.
    """
    payload = json.loads(text) if isinstance(text, str) else None
    if not isinstance(payload, dict):
        raise ValueError(f"{text!r:.60} is not a JSON object")  # noqa: TRY004
    return payload
