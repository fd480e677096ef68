"""FAISS's binary indexes as engines, for those who know them and to compare with.

Matthijs Douze et al.: The Faiss library, arXiv 2401.08281. They need the extra `faiss`. How the
bits of a code are laid out does not matter to a Hamming distance, so packed codes go in as they
are. FAISS keeps a copy of the codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from proxyhash.errors import DataError, UsageError, require_extra
from proxyhash.index.engines.arguments import CodeRows, check_known, read_search
from proxyhash.index.engines.base import (
    Matches,
    read_header,
    register_engine,
    write_header,
)
from proxyhash.index.engines.saved import check_saved, is_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines.arguments import SearchArguments

__all__ = ["FaissFlatEngine", "FaissHnswEngine", "FaissIvfEngine"]

_FILE = "index.faiss"
_MAX_OPTION = 1 << 16
# Queries answered between two looks at Ctrl-C.
_UNIT_QUERIES = 256
# How many rows within a radius are asked for at first where FAISS only knows k.
_FIRST_ROWS = 64


def _faiss() -> Any:
    return require_extra("faiss", extra="faiss", purpose="this engine")


class Pairs(NamedTuple):
    """Pairs of a query and a row that FAISS found for it, in any order."""

    queries: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[Any]

    @classmethod
    def none(cls) -> Pairs:
        """Return no pairs."""
        nothing = np.empty(0, np.int64)
        return cls(nothing, nothing, nothing)

    @classmethod
    def join(cls, parts: list[Pairs]) -> Pairs:
        """Return all pairs, one part after the other."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def wanted(self, given: SearchArguments) -> Pairs:
        """Return the pairs that are within the radius and allowed by the mask."""
        kept = self.distances <= given.radius
        if given.mask.size:
            kept &= given.mask[self.rows]
        return Pairs(*(part[kept] for part in self))

    def after(self, start: int) -> Pairs:
        """Return the same for queries counted from `start`."""
        return self._replace(queries=self.queries + start)

    def arranged(self, given: SearchArguments, order: npt.NDArray[np.uint64]) -> Matches:
        """Return the first k rows of each of q queries by (distance, order)."""
        count = len(given.query)
        ranks = order[self.rows] if order.size else self.rows
        by_place = np.lexsort((ranks, self.distances, self.queries))
        sizes = np.bincount(self.queries, minlength=count)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if count else sizes
        place = np.arange(len(by_place)) - np.repeat(first, sizes)
        kept = by_place[place < given.k]
        return Matches(
            offsets=np.concatenate([[0], np.cumsum(np.minimum(sizes, given.k))]).astype(np.int64),
            rows=self.rows[kept],
            distances=self.distances[kept].astype(np.uint16),
        )


class FaissEngine(ABC):
    """Common base of the three FAISS engines.

    Attributes:
        bits: the code length.
        count: how many rows it holds.
    """

    name: ClassVar[str]
    exact: ClassVar[bool]
    checks_saved: ClassVar[bool] = False
    defaults: ClassVar[dict[str, int]] = {}

    def __init__(self, rows: CodeRows, index: Any, options: dict[str, int]) -> None:
        self._rows = rows
        self._index = index
        self._options = options
        self.bits = rows.bits
        self.count = rows.count

    @classmethod
    @abstractmethod
    def _make(cls, rows: CodeRows, options: dict[str, int]) -> Any:
        """Return FAISS's index over the rows."""

    def _find(self, given: SearchArguments, query: Codes) -> Pairs:
        """Return at least what is searched for of that which FAISS finds, in any order.

        FAISS knows neither masks nor a radius for every index, so it is asked for more rows until
        there are enough that are allowed, or it has no more, or those left are too far.
        """
        size = given.k if given.k < given.allowed else _FIRST_ROWS
        while True:
            size = min(size, self.count)
            distances, rows = self._index.search(query, size)
            ended = (rows[:, -1] < 0) | (distances[:, -1] > given.radius)
            which, places = np.nonzero(rows >= 0)
            found = Pairs(which, rows[which, places], distances[which, places]).wanted(given)
            enough = np.bincount(found.queries, minlength=len(query)) >= given.k
            if size == self.count or (ended | enough).all():
                return found
            size *= 4

    @cached_property
    def nbytes(self) -> int:
        """Memory of the codes, the order and FAISS's index as it would be written, in bytes."""
        return int(self._rows.nbytes + _faiss().serialize_index_binary(self._index).nbytes)

    @classmethod
    def build(
        cls, codes: Codes, *, bits: int, order: npt.NDArray[np.uint64] | None = None, **options: Any
    ) -> Self:
        """Return the engine over codes uint8 (n, ceil(bits/8)); see `Engine.build`.

        Raises:
            MissingExtraError: FAISS is not installed.
            UsageError: an option is unknown or not at least 1.
            DataError: the codes or the order do not fit.
        """
        check_known(cls.name, options.keys() - cls.defaults)
        for name, value in options.items():
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} is {value!r}; it must be an integer of at least 1")
        rows = CodeRows(codes, bits=bits, order=order)
        settings = {**cls.defaults, **options}
        return cls(rows, cls._make(rows, settings), settings)

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
        found = [Pairs.none()]
        with _threads(given.threads):
            for start in range(0, len(query) if given.allowed else 0, _UNIT_QUERIES):
                part = np.ascontiguousarray(query[start : start + _UNIT_QUERIES])
                found.append(self._find(given, part).after(start))
        return Pairs.join(found).arranged(given, self._rows.order)

    def save(self, folder: Path) -> None:
        """Write FAISS's index; see `Engine.save`."""
        _faiss().write_index_binary(self._index, str(folder / _FILE))
        write_header(folder, engine=self.name, bits=self.bits, count=self.count, **self._options)

    @classmethod
    def load(
        cls,
        folder: Path,
        codes: Codes,
        *,
        order: npt.NDArray[np.uint64] | None = None,
        trusted: bool = False,
    ) -> Self:
        """Return the engine that `save` wrote, in memory; see `Engine.load`.

        FAISS's reader trusts what it reads: a crafted file makes it allocate, loop or crash. So
        the index is built again from the codes, with the options it was saved with.

        Args:
            folder: what `save` wrote.
            codes: the same codes.
            order: the same order.
            trusted: read FAISS's file instead, which is faster; for a folder that you wrote.

        Raises:
            MissingExtraError: FAISS is not installed.
            DataError: a file is missing, damaged or about other codes.
        """
        header = read_header(folder, engine=cls.name, codes=codes)
        options = {name: header.get(name, value) for name, value in cls.defaults.items()}
        valid = all(is_whole(value, 1, _MAX_OPTION) for value in options.values())
        check_saved(valid, folder, f"its options are {options}"[:200])
        if not trusted:
            return cls.build(codes, bits=header["bits"], order=order, **options)
        rows, path = CodeRows(codes, bits=header["bits"], order=order), folder / _FILE
        try:
            index = _faiss().read_index_binary(str(path))
        except RuntimeError as error:
            raise DataError(f"{path} cannot be read; rebuild the engine") from error
        if index.d != 8 * codes.shape[1] or index.ntotal != rows.count:
            raise DataError(f"{path} was built for other codes; rebuild the engine")
        return cls(rows, index, options)


@register_engine
class FaissFlatEngine(FaissEngine):
    """`IndexBinaryFlat`: compares every code, exact."""

    name: ClassVar[str] = "faiss_flat"
    exact: ClassVar[bool] = True

    @classmethod
    def _make(cls, rows: CodeRows, options: dict[str, int]) -> Any:  # noqa: ARG003
        index = _faiss().IndexBinaryFlat(8 * rows.codes.shape[1])
        index.add(np.ascontiguousarray(rows.codes))
        return index

    def _find(self, given: SearchArguments, query: Codes) -> Pairs:
        """Return every row as near as the k-th, for FAISS cuts equal distances anywhere."""
        limits = np.full(len(query), given.radius)
        if given.k < given.allowed:
            limits = np.minimum(limits, self._farthest(given, query))
        found = [Pairs.none()]
        for limit in np.unique(limits):
            which = np.flatnonzero(limits == limit)
            # FAISS means nearer than the radius.
            ends, distances, rows = self._index.range_search(query[which], int(limit) + 1)
            queries = np.repeat(which, np.diff(ends.astype(np.int64)))
            found.append(Pairs(queries, rows, distances).wanted(given))
        return Pairs.join(found)

    def _farthest(self, given: SearchArguments, query: Codes) -> npt.NDArray[np.int64]:
        """Return the distance of each query's k-th allowed row."""
        faiss, parameters = _faiss(), None
        if given.mask.size:
            bitmap = np.packbits(given.mask, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        distances, _ = self._index.search(query, given.k, params=parameters)
        farthest: npt.NDArray[np.int64] = distances[:, -1].astype(np.int64)
        return farthest


@register_engine
class FaissHnswEngine(FaissEngine):
    """`IndexBinaryHNSW`: a graph of near codes; may miss rows.

    Options: `links` a row has, `build_effort` and `effort` of a search (M, efConstruction and
    efSearch of Malkov and Yashunin, arXiv 1603.09320).
    """

    name: ClassVar[str] = "faiss_hnsw"
    exact: ClassVar[bool] = False
    defaults: ClassVar[dict[str, int]] = {"links": 32, "build_effort": 80, "effort": 64}

    @classmethod
    def _make(cls, rows: CodeRows, options: dict[str, int]) -> Any:
        index = _faiss().IndexBinaryHNSW(8 * rows.codes.shape[1], options["links"])
        index.hnsw.efConstruction = options["build_effort"]
        index.hnsw.efSearch = options["effort"]
        index.add(np.ascontiguousarray(rows.codes))
        return index


@register_engine
class FaissIvfEngine(FaissEngine):
    """`IndexBinaryIVF`: lists around centers, the nearest of which are scanned; may miss rows.

    Options: `lists`, at most one for 40 rows, and `probes`, how many of them a search scans.
    """

    name: ClassVar[str] = "faiss_ivf"
    exact: ClassVar[bool] = False
    defaults: ClassVar[dict[str, int]] = {"lists": 4096, "probes": 16}

    @classmethod
    def _make(cls, rows: CodeRows, options: dict[str, int]) -> Any:
        faiss, width = _faiss(), 8 * rows.codes.shape[1]
        lists = max(1, min(options["lists"], rows.count // 40))
        centers = faiss.IndexBinaryFlat(width)
        index = faiss.IndexBinaryIVF(centers, width, lists)
        # The index frees its centers; Python must not free them before.
        index.own_fields = True
        centers.this.disown()
        index.nprobe = options["probes"]
        if rows.count:
            codes = np.ascontiguousarray(rows.codes)
            index.train(codes)
            index.add(codes)
        return index


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let FAISS use `count` threads in the block."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
