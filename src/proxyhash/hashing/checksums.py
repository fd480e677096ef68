"""Checksums of a model folder, so that `index verify` finds damage in any of its files."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from proxyhash.errors import DataError
from proxyhash.files import open_regular, sha256_file, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

__all__ = ["MAX_JSON", "RESTORE", "find_damage", "write_checksums"]

MAX_JSON = 1 << 26
"""Bytes of `model.json` and `checksums.json` that are read."""

RESTORE = "copy the whole folder again from the original, or train the model again"

_NAME = "checksums.json"
_CHUNK = 1 << 20


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a folder into a file there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    write_json(folder / _NAME, sums)


def find_damage(folder: Path, *, opened: Callable[[Path], IO[bytes]] = open_regular) -> list[str]:
    """Return which files of a model folder are not what was written, one sentence each.

    A folder that an earlier version wrote has no checksums, and further files are not looked at.

    Args:
        folder: the model folder.
        opened: opens one of its files; by default links are not followed.
    """
    path = folder / _NAME
    if not os.path.lexists(path):
        return []
    try:
        with opened(path) as file:
            sums = json.loads(file.read(MAX_JSON))
    except (DataError, OSError, ValueError, RecursionError) as error:
        return [f"{path} cannot be read ({error}); {RESTORE}"]
    if not isinstance(sums, dict):
        return [f"{path} does not hold checksums; {RESTORE}"]
    return [
        problem for name in sorted(sums) if (problem := _damage(folder, name, sums[name], opened))
    ]


def _damage(folder: Path, name: str, stated: object, opened: Callable[[Path], IO[bytes]]) -> str:
    parts = PurePosixPath(name).parts
    if not parts or "\0" in name or {"/", ".."} & set(parts):
        return f"{folder / _NAME} names {name!r}, which is not in the folder; {RESTORE}"
    digest = sha256()
    try:
        with opened(folder / name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except (DataError, OSError, ValueError) as error:
        return f"{folder / name} cannot be read ({error}); {RESTORE}"
    if digest.hexdigest() != stated:
        return f"{folder / name}: the checksum does not match; {RESTORE}"
    return ""
