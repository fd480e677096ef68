"""What a growing engine holds at one time: its segments and its tail."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from proxyhash.index.engines.registry import get_engine

if TYPE_CHECKING:
    from proxyhash.index.engines.arguments import Rows
    from proxyhash.index.engines.base import Engine

__all__ = ["Segment", "State", "build_over", "kept_segments"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `start` to `stop`, and the engine over them."""

    start: int
    stop: int
    engine: Engine

    @property
    def size(self) -> int:
        """Return how many rows these are."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class State:
    """All rows at one time; the segments cover the first of them, the tail's scan the rest."""

    rows: Rows
    segments: tuple[Segment, ...]
    tail: Segment

    @classmethod
    def of(cls, rows: Rows, segments: tuple[Segment, ...]) -> State:
        """Return the state of rows of which the first are in the segments."""
        start = segments[-1].stop if segments else 0
        return cls(rows, segments, Segment(start, rows.count, build_over("scan", rows, start)))


def build_over(name: str, rows: Rows, start: int, **options: Any) -> Engine:
    """Return an engine over the rows from `start` on."""
    order = rows.order[start:] if rows.order.size else None
    return get_engine(name).build(rows.codes[start:], bits=rows.bits, order=order, **options)


def kept_segments(state: State) -> int:
    """Return how many segments stay: each is larger than what is merged behind it."""
    sizes = [state.tail.size, *(segment.size for segment in reversed(state.segments))]
    kept = len(state.segments)
    for merged, size in zip(accumulate(sizes), sizes[1:], strict=False):
        if size > merged:
            break
        kept -= 1
    return kept
