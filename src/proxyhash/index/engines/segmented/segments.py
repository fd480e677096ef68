"""The segments and the tail of a growing engine at one time, and answers of several in one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.codes.kernels import kernel
from proxyhash.index.engines.base import ENGINES, Matches
from proxyhash.index.engines.saved import check_saved, is_whole

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.index.engines.arguments import CodeRows
    from proxyhash.index.engines.base import Engine

__all__ = ["Segment", "State", "build_over", "kept_segments", "merge_matches", "read_segments"]

_MAX_SEGMENTS = 64


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

    rows: CodeRows
    segments: tuple[Segment, ...]
    tail: Segment

    @classmethod
    def of(cls, rows: CodeRows, segments: tuple[Segment, ...]) -> State:
        """Return the state of rows of which the first are in the segments."""
        start = segments[-1].stop if segments else 0
        return cls(rows, segments, Segment(start, rows.count, build_over("scan", rows, start)))


def build_over(name: str, rows: CodeRows, start: int, **options: Any) -> Engine:
    """Return an engine over the rows from `start` on."""
    order = rows.order[start:] if rows.order.size else None
    return ENGINES[name].build(rows.codes[start:], bits=rows.bits, order=order, **options)


def kept_segments(state: State) -> int:
    """Return how many segments stay: each is larger than what is merged behind it."""
    sizes = [state.tail.size, *(segment.size for segment in reversed(state.segments))]
    kept = len(state.segments)
    for merged, size in zip(accumulate(sizes), sizes[1:], strict=False):
        if size > merged:
            break
        kept -= 1
    return kept


def read_segments(saved: dict[str, Any], path: Path, *, count: int) -> tuple[list[int], str]:
    """Return where saved segments end, and the name of their engine.

    Raises:
        DataError: they are not segments of `count` rows, or their engine does not check what it
            loads.
    """
    stops, engine = saved.get("stops"), saved.get("engine")
    rising = (
        isinstance(stops, list)
        and len(stops) <= _MAX_SEGMENTS
        and all(is_whole(stop, 1, count) for stop in stops)
        and all(start < stop for start, stop in pairwise(stops))
    )
    check_saved(rising, path, "its segments do not follow one another")
    known = isinstance(engine, str) and engine != "segmented" and engine in ENGINES
    safe = known and getattr(ENGINES[str(engine)], "checks_saved", False)
    check_saved(safe, path, f"engines {engine!r} are not read from a folder"[:200])
    settings = saved.get("settings")
    valid = (
        is_whole(saved.get("tail_rows"), 1, 2**48)
        and isinstance(saved.get("background"), bool)
        and isinstance(settings, dict)
        and all(isinstance(value, bool | int | str | float) for value in settings.values())
    )
    check_saved(valid, path, "its settings are not those of segments")
    return list(stops or ()), str(engine)


def merge_matches(
    first: Matches, second: Matches, *, order: npt.NDArray[np.uint64], k: int
) -> Matches:
    """Return the nearest k rows of each query among both, ordered by (distance, order).

    Args:
        first: ordered answers.
        second: ordered answers to the same queries, of other rows.
        order: uint64 (n,), or empty for the order of the rows.
        k: at most this many rows per query.
    """
    room = np.minimum(np.diff(first.offsets) + np.diff(second.offsets), k)
    offsets = np.concatenate([[0], np.cumsum(room)])
    rows, distances = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.uint16)
    _merge(
        first.offsets,
        first.rows,
        first.distances,
        second.offsets,
        second.rows,
        second.distances,
        order,
        offsets,
        rows,
        distances,
    )
    return Matches(offsets, rows, distances)


@kernel
def _merge(  # noqa: PLR0917 -- tuples of arrays take microseconds to hand over
    first_offsets: npt.NDArray[np.int64],
    first_rows: npt.NDArray[np.int64],
    first_distances: npt.NDArray[np.uint16],
    second_offsets: npt.NDArray[np.int64],
    second_rows: npt.NDArray[np.int64],
    second_distances: npt.NDArray[np.uint16],
    order: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    distances: npt.NDArray[np.uint16],
) -> None:
    for query in range(offsets.size - 1):
        left, right = first_offsets[query], second_offsets[query]
        for place in range(offsets[query], offsets[query + 1]):
            take_left = right == second_offsets[query + 1]
            if not take_left and left < first_offsets[query + 1]:
                ours, theirs = first_distances[left], second_distances[right]
                if ours != theirs:
                    take_left = ours < theirs
                elif order.size:
                    take_left = order[first_rows[left]] < order[second_rows[right]]
                else:
                    take_left = first_rows[left] < second_rows[right]
            if take_left:
                rows[place], distances[place] = first_rows[left], first_distances[left]
                left += 1
            else:
                rows[place], distances[place] = second_rows[right], second_distances[right]
                right += 1
