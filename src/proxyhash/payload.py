"""Rules of what can be stored beside codes (ids, payloads), for manifests and every index."""

from __future__ import annotations

import math
from collections.abc import Mapping

from proxyhash.errors import DataError

__all__ = ["MAX_DEPTH", "MAX_ID", "MAX_INTEGER", "check_id", "check_string", "copy_json"]

MAX_ID = 512
"""Characters of the longest id; arrays of ids are as wide as the longest one."""

MAX_INTEGER = 2**63 - 1
"""Larger numbers have to be floats: SQLite and Milvus know no other integers than these."""

MAX_DEPTH = 32
"""Lists and objects inside each other."""


def check_id(id_: object) -> str:
    """Return an id that something may be stored under.

    Raises:
        DataError: it is not a string, is empty, is longer than `MAX_ID`, contains a null character
            or is not valid Unicode.
    """
    if not isinstance(id_, str):
        raise DataError(f"id {id_!r:.60} is not a string")
    if not 1 <= len(id_) <= MAX_ID:
        raise DataError(f"id {id_[:20]!a} has {len(id_)} characters; 1 to {MAX_ID} are expected")
    if "\0" in id_:
        raise DataError(f"id {id_!r} contains a null character")
    return check_string(id_, "an id")


def check_string(text: str, place: str) -> str:
    """Return a string that can be written as UTF-8.

    Raises:
        DataError: "PLACE holds TEXT, which is not valid Unicode".
    """
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"{place} holds {text!a:.60}, which is not valid Unicode") from None
    return str(text)


def copy_json(value: object, *, place: str = "the payload", depth: int = 0) -> object:
    """Return a copy of a JSON value that shares nothing with it; tuples become lists.

    Raises:
        DataError: "PLACE holds nan, which is not JSON".
    """
    if type(value) is str:
        return value if value.isascii() else check_string(value, place)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | int):
        return check_string(value, place) if isinstance(value, str) else _integer(value, place)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth == MAX_DEPTH:
        raise DataError(f"{place} is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list | tuple):
        return [copy_json(one, place=place, depth=depth + 1) for one in value]
    if isinstance(value, Mapping):
        result = {}
        for key, one in value.items():
            if not isinstance(key, str):
                raise DataError(f"{place} has a key that is not a string, which is not JSON")
            name = key if key.isascii() else check_string(key, place)
            result[str(name)] = copy_json(one, place=place, depth=depth + 1)
        return result
    raise DataError(f"{place} holds {value!r:.60}, which is not JSON")


def _integer(value: int, place: str) -> int:
    if abs(value) > MAX_INTEGER:
        raise DataError(f"{place} holds an integer of more than 64 bits; use a float")
    return int(value)
