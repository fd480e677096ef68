"""An engine that grows: segments with an engine each, and a tail that is scanned."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from proxyhash.errors import DataError
from proxyhash.files import write_json
from proxyhash.index.engines.arguments import CodeRows, check_known, read_search
from proxyhash.index.engines.base import (
    ENGINES,
    HEADER,
    Matches,
    check_usable,
    read_header,
    register_engine,
    write_header,
)
from proxyhash.index.engines.saved import check_saved, is_whole, read_settings
from proxyhash.index.engines.segmented.segments import (
    Segment,
    State,
    build_over,
    kept_segments,
    merge_matches,
    read_segments,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes

__all__ = ["SegmentedEngine"]

TAIL_ROWS = 1 << 17
"""A tail of as many codes of 64 bits takes some ten microseconds to scan."""

_SEGMENTS = "segments.json"


@register_engine
class SegmentedEngine:
    """Search over rows that are appended, without building everything again.

    New rows form a tail, which is scanned. A full tail becomes a segment with an engine of its own,
    together with those segments before it that are no larger than what they are merged with. So
    every segment is larger than all behind it, there are at most log2(n) of them, and a row is
    built into a new engine at most log2(n) times.

    Attributes:
        bits: the code length.
        count: how many rows it holds.
        engine: name of the engine that segments get.
    """

    name: ClassVar[str] = "segmented"
    exact: ClassVar[bool] = True
    checks_saved: ClassVar[bool] = True

    def __init__(
        self, state: State, *, engine: str, tail_rows: int, background: bool, settings: Any
    ) -> None:
        self.bits = state.rows.bits
        self.count = state.rows.count
        self.engine = engine
        self._state = state
        self._tail_rows = tail_rows
        self._background = background
        self._settings = dict(settings)
        self._changing = threading.Lock()  # for the moment in which the state is exchanged
        self._merging = threading.Lock()  # while an engine is built; there is one builder at most

    @property
    def nbytes(self) -> int:
        """Memory of the segments' engines and of the tail, in bytes."""
        state = self._state
        return sum(part.engine.nbytes for part in (*state.segments, state.tail))

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """Everything the segments hold that may be mapped from a file, but codes and order."""
        parts = self._state.segments
        return tuple(array for part in parts for array in getattr(part.engine, "arrays", ()))

    @property
    def settings(self) -> dict[str, Any]:
        """Return the options that segments' engines are built with."""
        return dict(self._settings)

    @property
    def segments(self) -> tuple[int, ...]:
        """Return the number of rows of each segment; the rest are in the tail."""
        return tuple(segment.size for segment in self._state.segments)

    @classmethod
    def build(
        cls,
        codes: Codes,
        *,
        bits: int,
        order: npt.NDArray[np.uint64] | None = None,
        engine: str = "auto",
        tail_rows: int = TAIL_ROWS,
        background: bool = False,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Return the engine over codes uint8 (n, ceil(bits/8)); see `Engine.build`.

        Args:
            codes: packed codes.
            bits: the code length.
            order: uint64 (n,), or None for the order of the rows.
            engine: name of the exact engine that segments get.
            tail_rows: from this many rows on the tail becomes a segment.
            background: let a thread of its own merge segments; until it is done the tail is longer.
            settings: options of the segments' engines.
            options: none.
        """
        check_known(cls.name, options)
        state = State.of(CodeRows(codes, bits=bits, order=order), ())
        kind = ENGINES[engine].name
        check_usable(kind)
        self = cls(
            state, engine=kind, tail_rows=tail_rows, background=background, settings=settings or {}
        )
        if self.count >= tail_rows:
            self.compact()
        return self

    def extend(self, codes: Codes, *, order: npt.NDArray[np.uint64] | None = None) -> None:
        """Add rows behind those it holds.

        Args:
            codes: uint8 (m, B), m at least `count`: the rows it holds, and the new ones behind
                them. Kept, not copied.
            order: uint64 (m,), or None as when it was built. May be another array with other
                numbers than before, as long as rows that a search may return compare as before.

        Raises:
            DataError: there are fewer rows than before, or codes or order do not fit.
        """
        with self._changing:
            old = self._state
            rows = CodeRows(codes, bits=self.bits, order=order)
            if rows.count < old.rows.count:
                raise DataError(
                    f"{rows.count:,} rows were given and there are {old.rows.count:,} already; "
                    "rows are only ever added"
                )
            self._state = State.of(rows, old.segments)
            self.count = rows.count
        if self._state.tail.size >= self._tail_rows:
            self._merge(all_rows=False)

    def compact(self) -> None:
        """Make one segment of all rows, after a merge that may be under way."""
        self._merge(all_rows=True)

    def wait(self) -> None:
        """Wait until no merge is under way."""
        with self._merging:
            pass

    def search(
        self,
        query: Codes,
        *,
        k: int | None,
        radius: int | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> Matches:
        """Return the nearest rows of each query; see `Engine.search`.

        The largest segment is searched first, and no other farther than the k-th distances found.
        """
        state = self._state
        rows = state.rows
        given = read_search(
            query, bits=self.bits, count=rows.count, k=k, radius=radius, mask=mask, threads=threads
        )
        parts = [part for part in (*state.segments, state.tail) if part.size]
        parts.sort(key=lambda part: -part.size)
        found = Matches(
            np.zeros(len(query) + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16)
        )
        for part in parts:
            more = part.engine.search(
                query,
                k=k,
                radius=radius,
                mask=None if mask is None else mask[part.start : part.stop],
                threads=threads,
            )
            more = replace(more, rows=more.rows + part.start)
            found = (
                more if len(parts) == 1 else merge_matches(found, more, order=rows.order, k=given.k)
            )
            if k is not None and len(query) and (np.diff(found.offsets) == k).all():
                radius = int(found.distances[found.offsets[1:] - 1].max())
        return found

    def save(self, folder: Path) -> None:
        """Write the segments, each into a folder of its own; the tail needs nothing."""
        state = self._state
        for number, segment in enumerate(state.segments):
            (folder / str(number)).mkdir()
            segment.engine.save(folder / str(number))
        saved = {
            "stops": [segment.stop for segment in state.segments],
            "engine": self.engine,
            "tail_rows": self._tail_rows,
            "background": self._background,
            "settings": self._settings,
        }
        write_json(folder / _SEGMENTS, saved)
        write_header(folder, engine=self.name, bits=self.bits, count=state.rows.count)

    @classmethod
    def load(
        cls, folder: Path, codes: Codes, *, order: npt.NDArray[np.uint64] | None = None
    ) -> Self:
        """Return the engine over the same codes and order; more rows behind them form the tail.

        Raises:
            DataError: a file is missing or damaged, does not fit the codes, or names an engine
                that does not check what it loads.
        """
        count = read_settings(folder / HEADER).get("count")
        known = codes[:count] if is_whole(count, 0, len(codes)) else codes
        header = read_header(folder, engine=cls.name, codes=known)
        rows = CodeRows(codes, bits=header["bits"], order=order)
        saved = read_settings(folder / _SEGMENTS)
        stops, engine = read_segments(saved, folder / _SEGMENTS, count=header["count"])
        segments = []
        for number, (start, stop) in enumerate(zip([0, *stops], stops, strict=False)):
            part = ENGINES[engine].load(
                folder / str(number),
                codes[start:stop],
                order=None if order is None else order[start:stop],
            )
            alike = part.bits == rows.bits
            check_saved(alike, folder / str(number), "it is of another code length")
            segments.append(Segment(start, stop, part))
        others = {name: saved[name] for name in ("tail_rows", "background", "settings")}
        return cls(State.of(rows, tuple(segments)), engine=engine, **others)

    @staticmethod
    def saved_engine(folder: Path) -> str:
        """Return the name of the engine that the segments saved in a folder have.

        Raises:
            DataError: the folder holds no segments, or says no name.
        """
        name = read_settings(folder / _SEGMENTS).get("engine")
        check_saved(isinstance(name, str), folder / _SEGMENTS, "it names no engine")
        return str(name)

    def _merge(self, *, all_rows: bool) -> None:
        """Build a segment of the tail and the segments that go with it, here or in a thread."""
        if not self._merging.acquire(blocking=all_rows):
            return  # the next rows will start it
        try:
            state = self._state
            kept = 0 if all_rows else kept_segments(state)
            start = state.segments[kept].start if kept < len(state.segments) else state.tail.start
            rows = state.rows
            if self._background:  # the order may be renumbered in place while the thread reads it
                order = rows.order.copy() if rows.order.size else None
                rows = CodeRows(rows.codes, bits=self.bits, order=order)
        except BaseException:
            self._merging.release()
            raise
        if self._background and not all_rows:
            work = threading.Thread(
                target=self._replace, args=(rows, kept, start), name="proxyhash-merge", daemon=True
            )
            work.start()
        else:
            self._replace(rows, kept, start)

    def _replace(self, rows: CodeRows, kept: int, start: int) -> None:
        """Put one segment over rows from `start` on behind the first `kept` segments."""
        try:
            engine = build_over(self.engine, rows, start, **self._settings)
            with self._changing:
                segments = (*self._state.segments[:kept], Segment(start, rows.count, engine))
                self._state = State.of(self._state.rows, segments)
        finally:
            self._merging.release()
