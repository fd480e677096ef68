"""Progress reporting: work wraps its steps, and the caller decides how to show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

__all__ = ["Track", "silent"]

T = TypeVar("T")


@runtime_checkable
class Track(Protocol):
    """Wraps an iterable and reports each step; `proxyhash.cli.console.track` draws a bar."""

    def __call__(
        self, steps: Iterable[T], description: str, total: int | None = None, /
    ) -> Iterator[T]:
        """Yield the steps unchanged."""
        ...


def silent(steps: Iterable[T], description: str, total: int | None = None, /) -> Iterator[T]:
    """Report nothing."""
    yield from steps
