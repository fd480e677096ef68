"""Header of a saved engine's folder, `engine.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.errors import DataError
from proxyhash.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.codes import Codes

__all__ = ["HEADER", "read_header", "write_header"]

HEADER = "engine.json"
_VERSION = 1


def write_header(folder: Path, *, engine: str, bits: int, count: int, **settings: int) -> None:
    """Write which engine was saved, over how many codes, and its own settings."""
    header = {"version": _VERSION, "engine": engine, "bits": bits, "count": count}
    write_json(folder / HEADER, {**header, **settings})


def read_header(folder: Path, *, engine: str, codes: Codes) -> dict[str, Any]:
    """Return what `write_header` wrote, if it was about these codes.

    Raises:
        DataError: it is missing or damaged, of another engine, or of other codes.
    """
    path = folder / HEADER
    header = read_json(path)
    if not isinstance(header, dict) or header.get("version") != _VERSION:
        raise DataError(f"{path} has another version; rebuild the engine")
    if header.get("engine") != engine:
        raise DataError(f"{path} is of the engine {header.get('engine')!r}, not of {engine!r}")
    if header.get("count") != len(codes):
        raise DataError(
            f"{path} is about {header.get('count')} codes and there are {len(codes)}; "
            "rebuild the engine"
        )
    return header
