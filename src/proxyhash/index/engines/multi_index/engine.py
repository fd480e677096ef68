"""Multi-index hashing: exact, and fast wherever the nearest rows are near.

Mohammad Norouzi, Ali Punjani, David J. Fleet: Fast Search in Hamming Space with Multi-Index
Hashing, CVPR 2012. Here the tables take turns in growing, every row is judged in the first bucket
that has it, and a query whose buckets would take longer than a scan is answered by a scan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from proxyhash.codes.kernels import run_blocks
from proxyhash.errors import UsageError
from proxyhash.index.engines.arguments import CodeRows, SearchArguments, check_known, read_search
from proxyhash.index.engines.base import (
    join_queries,
    read_header,
    register_engine,
    write_header,
)
from proxyhash.index.engines.bounded_heap import as_matches, heaps_as_matches
from proxyhash.index.engines.multi_index.kernels import GAVE_UP, Probe, probe_tables
from proxyhash.index.engines.multi_index.tables import (
    Tables,
    build_tables,
    load_tables,
    save_tables,
)
from proxyhash.index.engines.scan.engine import fits_heap, scan

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines.base import Matches

__all__ = ["MultiIndexEngine"]

_MAX_ROWS = 2**32 - 1
# Queries that one thread answers before it looks at Ctrl-C; fewer are not worth a second thread.
_UNIT_QUERIES = 16
# A query is given up and scanned when buckets would cost it this many scans.
_PATIENCE = 1.0
# Rows within a radius that there is room for at first.
_FEW_ROWS = 256


@register_engine
class MultiIndexEngine:
    """Finds rows by substrings of their codes, in one hash table per substring.

    Attributes:
        bits: the code length.
        count: how many rows it holds.
    """

    name: ClassVar[str] = "multi_index"
    exact: ClassVar[bool] = True
    checks_saved: ClassVar[bool] = True

    def __init__(self, rows: CodeRows, tables: Tables) -> None:
        self._rows = rows
        self._tables = tables
        self.bits = rows.bits
        self.count = rows.count

    @property
    def nbytes(self) -> int:
        """Memory of the codes, the order and the tables, in bytes."""
        return self._rows.nbytes + self._tables.nbytes

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """Everything it holds that may be mapped from a file, but codes and order."""
        return tuple(self._tables)

    @classmethod
    def build(
        cls,
        codes: Codes,
        *,
        bits: int,
        order: npt.NDArray[np.uint64] | None = None,
        economy: bool = False,
        threads: int | None = None,
        **options: Any,
    ) -> Self:
        """Return the engine over codes uint8 (n, ceil(bits/8)); see `Engine.build`.

        Args:
            codes: the rows' codes.
            bits: the code length.
            order: uint64 (n,), or None for the order of the rows.
            economy: keep pointers alone in the tables: less than half the memory (for 10 million
                codes of 64 bits, 2.4 instead of 5.4 times that of the codes), slower answers.
            threads: how many threads build the tables; default all cores.
            options: none.

        Raises:
            UsageError: there are more than 2**32 - 1 rows, or an option is unknown.
            DataError: the codes or the order do not fit.
        """
        check_known(cls.name, options)
        rows = CodeRows(codes, bits=bits, order=order)
        if rows.count > _MAX_ROWS:
            raise UsageError(f"{rows.count:,} rows are more than a multi-index holds; split them")
        return cls(rows, build_tables(rows, beside=not economy, threads=threads))

    def search(
        self,
        query: Codes,
        *,
        k: int | None,
        radius: int | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> Matches:
        """Return the nearest rows of each query; see `Engine.search`."""
        given = read_search(
            query, bits=self.bits, count=self.count, k=k, radius=radius, mask=mask, threads=threads
        )
        bounded = given.k < given.allowed
        if not given.allowed or (bounded and not fits_heap(given)):
            return scan(self._rows, given)
        size = given.k if bounded else min(given.allowed, _FEW_ROWS)
        probe = Probe(
            self._rows.words,
            self._tables,
            given.radius,
            given.mask,
            self._rows.order,
            bounded,
            _PATIENCE * self._rows.words.size,
        )
        heaps, sizes = self._probe(given, probe, size=size)
        kept = (sizes != GAVE_UP) & (sizes <= size)
        found = heaps_as_matches(heaps[kept], sizes[kept])
        if kept.all():
            return found
        parts = [(np.flatnonzero(kept), found)]
        given_up, cut = np.flatnonzero(sizes == GAVE_UP), np.flatnonzero(sizes > size)
        if given_up.size:
            parts.append((given_up, scan(self._rows, given.of(given_up))))
        if cut.size:
            parts.append((cut, self._within(given.of(cut), probe, sizes[cut])))
        return join_queries(parts)

    def _probe(
        self, given: SearchArguments, probe: Probe, *, size: int
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Return sorted entries (q, size) of each query, and how many there are (q,)."""
        count = len(given.query)
        heaps, sizes = np.empty((count, size), np.uint64), np.empty(count, np.int64)

        def work(start: int, stop: int) -> None:
            part = slice(start, stop)
            probe_tables(given.query[part], probe, heaps[part], sizes[part])

        threads = given.threads if count > _UNIT_QUERIES else 1
        run_blocks(work, count, threads=threads, block=_UNIT_QUERIES)
        return heaps, sizes

    def _within(
        self, given: SearchArguments, probe: Probe, sizes: npt.NDArray[np.int64]
    ) -> Matches:
        """Return all rows within the radius, of which each query is known to have `sizes`."""
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        entries = np.empty(offsets[-1], np.uint64)

        def work(start: int, stop: int) -> None:
            for place in range(start, stop):
                heap = entries[None, offsets[place] : offsets[place + 1]]
                part = slice(place, place + 1)
                probe_tables(given.query[part], probe, heap, sizes[part].copy())

        run_blocks(work, len(sizes), threads=given.threads, block=_UNIT_QUERIES)
        return as_matches(entries, sizes)

    def save(self, folder: Path) -> None:
        """Write the tables; see `Engine.save`."""
        save_tables(self._tables, folder)
        write_header(folder, engine=self.name, bits=self.bits, count=self.count)

    @classmethod
    def load(
        cls, folder: Path, codes: Codes, *, order: npt.NDArray[np.uint64] | None = None
    ) -> Self:
        """Return the engine that `save` wrote, compared with the codes; see `Engine.load`."""
        header = read_header(folder, engine=cls.name, codes=codes)
        rows = CodeRows(codes, bits=header["bits"], order=order)
        return cls(rows, load_tables(folder, rows))
