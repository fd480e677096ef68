"""Checks of saved engines, whose files may come from a stranger, with checksums that fit.

Tables and lists hold what the codes say, in another sequence. To compare the two without going
through memory at random, each adds up a number for everything it holds, mixed with a random key
that nobody knew when the files were written: equal sums mean equal content, whatever its sequence
(a multiset hash; different content has equal sums once in 2**64 times).
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from proxyhash.codes.kernels import lean_kernel
from proxyhash.errors import DataError
from proxyhash.files import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["check_saved", "draw_key", "first_state", "is_whole", "mix", "read_settings"]

_MAX_JSON = 1 << 20


def read_settings(path: Path) -> dict[str, Any]:
    """Read one of the small JSON objects of a saved engine.

    Raises:
        DataError: it is missing, damaged, larger than any that we write, or no object.
    """
    try:
        with open_regular(path) as file:
            content = file.read(_MAX_JSON + 1)
        settings = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}; rebuild the engine") from error
    check_saved(len(content) <= _MAX_JSON, path, f"it takes more than {_MAX_JSON:,} bytes")
    check_saved(isinstance(settings, dict), path, "it is not an object")
    return dict(settings)


def check_saved(fits: bool, path: Path, what: str) -> None:
    """Refuse a part of a saved engine.

    Raises:
        DataError: "PATH is damaged: WHAT; rebuild the engine".
    """
    if not fits:
        raise DataError(f"{path} is damaged: {what}; rebuild the engine")


def is_whole(value: object, least: int, most: int) -> TypeGuard[int]:
    """Whether a value of a JSON file is an integer within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def draw_key() -> npt.NDArray[np.uint64]:
    """Return a random key for `first_state` and `mix`, uint64 (3,), odd."""
    return np.frombuffer(os.urandom(24), np.uint64) | np.uint64(1)


@lean_kernel
def first_state(row: Any, key: npt.NDArray[np.uint64]) -> Any:
    """Return the state, a uint64, to mix words with that belong to a row."""
    return (np.uint64(row) + key[2]) * key[0]


@lean_kernel
def mix(state: Any, word: Any, key: npt.NDArray[np.uint64]) -> Any:
    """Return the state after one more word."""
    state = (state ^ np.uint64(word)) * key[0]
    state = (state ^ (state >> np.uint64(32))) * key[1]
    return state ^ (state >> np.uint64(29))
