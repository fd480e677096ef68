"""Which converters take a folder for theirs: exactly one should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.datasets import CONVERTERS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["recognized_by"]


def recognized_by(path: Path) -> list[str]:
    """Return the names of all converters that recognize `path`."""
    return [name for name, converter in CONVERTERS.items() if converter.recognizes(path)]
