"""An exact engine for codes that lie in clusters: lists around centers, left out only by proof."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from proxyhash.codes.kernels import run_blocks
from proxyhash.index.engines.arguments import CodeRows, check_known, read_search
from proxyhash.index.engines.base import (
    Matches,
    join_queries,
    read_header,
    register_engine,
    write_header,
)
from proxyhash.index.engines.clustered.candidates import Goal
from proxyhash.index.engines.clustered.centers import as_long_words, assign, choose_centers
from proxyhash.index.engines.clustered.lists import Lists, load_lists, make_lists, save_lists
from proxyhash.index.engines.clustered.search import ROOM, search_lists

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes

__all__ = ["ClusteredEngine"]

MAX_CENTERS = 2048
"""More would take longer to compare with than they save."""

# How much a thread does between two looks at Ctrl-C, in words of codes: a quarter of a second.
_UNIT_WORDS = 2**31
_UNIT_QUERIES = 256
_UNIT_FEW = 8  # queries without k: what they find may be much
_FEW_QUERIES = 8  # so few share no lists worth mentioning
_UNIT_ROOM = 2**20  # candidates of all queries together
_CACHE_BYTES = 2**24


@register_engine
class ClusteredEngine:
    """Exact search that compares only the codes which the triangle inequality does not exclude.

    Codes lie in lists around centers, equal ones stored once; in a list by their distance from its
    center. The nearest list is searched first. A code x of the list around c can be within the
    k-th distance t found so far only where |d(q, c) - d(c, x)| <= t: a run of the list, and mostly
    an empty one where codes come in clusters. Random codes are nearly all compared.

    Attributes:
        bits: the code length.
        count: how many rows it holds.
        lists: the codes as they are laid out.
    """

    name: ClassVar[str] = "clustered"
    exact: ClassVar[bool] = True
    checks_saved: ClassVar[bool] = True

    def __init__(self, lists: Lists, *, bits: int, order: npt.NDArray[np.uint64]) -> None:
        self.bits = bits
        self.count = len(lists.rows)
        self.lists = lists
        self._order = order

    @property
    def nbytes(self) -> int:
        """Memory of its copy of the codes, the rows and the order, in bytes."""
        return self.lists.nbytes + int(self._order.nbytes)

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """Everything it holds that may be mapped from a file, but the order."""
        return tuple(self.lists)

    @classmethod
    def build(
        cls,
        codes: Codes,
        *,
        bits: int,
        order: npt.NDArray[np.uint64] | None = None,
        centers: int | None = None,
        seed: int = 0,
        threads: int | None = None,
        **options: Any,
    ) -> Self:
        """Return an engine over codes uint8 (n, ceil(bits/8)), which are copied.

        Args:
            codes: packed codes.
            bits: the code length.
            order: uint64 (n,), all different; ties go to the smaller one. Default: the row.
            centers: how many, where the codes are that various; default the square root of twice
                their number, at most 2,048.
            seed: of the draw of the centers, which changes the speed and never the answers.
            threads: how many threads to use; default all cores.
            options: none.
        """
        check_known(cls.name, options)
        rows = CodeRows(codes, bits=bits, order=order)
        if centers is None:
            centers = min(MAX_CENTERS, isqrt(2 * len(codes)))
        middle = choose_centers(codes, count=max(1, centers), seed=seed, threads=threads)
        lists = make_lists(codes, middle, bits=bits, order=rows.order, threads=threads)
        return cls(lists, bits=bits, order=rows.order)

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
        return self._search(query, k=k, radius=radius, mask=mask, threads=threads)[0]

    def work(
        self,
        query: Codes,
        *,
        k: int | None,
        radius: int | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Return how many codes and centers each query is compared with, int64 (q,)."""
        return self._search(query, k=k, radius=radius, mask=mask, threads=None)[1]

    def save(self, folder: Path) -> None:
        """Write the lists and what they are; see `Engine.save`."""
        save_lists(self.lists, folder)
        write_header(folder, engine=self.name, bits=self.bits, count=self.count)

    @classmethod
    def load(
        cls, folder: Path, codes: Codes, *, order: npt.NDArray[np.uint64] | None = None
    ) -> Self:
        """Return the engine that `save` wrote, compared with the codes; see `Engine.load`."""
        header = read_header(folder, engine=cls.name, codes=codes)
        rows = CodeRows(codes, bits=header["bits"], order=order)
        return cls(load_lists(folder, rows), bits=rows.bits, order=rows.order)

    def _search(
        self,
        query: Codes,
        *,
        k: int | None,
        radius: int | None,
        mask: npt.NDArray[np.bool_] | None,
        threads: int | None,
    ) -> tuple[Matches, npt.NDArray[np.int64]]:
        given = read_search(
            query, bits=self.bits, count=self.count, k=k, radius=radius, mask=mask, threads=threads
        )
        queries = as_long_words(query)
        sequence: npt.NDArray[np.int64] | None = None
        if len(query) > _FEW_QUERIES and self.lists.words.nbytes > _CACHE_BYTES:
            # Neighbors visit the same lists, which are read from memory once for all of them.
            nearest_list, _ = assign(queries, self.lists.centers, threads=given.threads)
            sequence = np.argsort(nearest_list, kind="stable")
            queries = queries[sequence]
        parts: dict[int, tuple[npt.NDArray[Any], ...]] = {}
        nearest = given.k if given.limited else 0
        goal = Goal(self.lists, self._order, given.mask, nearest, given.radius)

        def work(start: int, stop: int) -> None:
            room, some = ROOM + 2 * nearest, queries[start:stop]
            part = search_lists(some, goal, room, sequence is not None)
            while not nearest and np.diff(part[2]).max() > room:
                room *= 4
                part = search_lists(some, goal, room, sequence is not None)
            parts[start] = part

        most = min(_UNIT_QUERIES, _UNIT_ROOM // (ROOM + 2 * nearest)) if nearest else _UNIT_FEW
        block = max(1, min(most, _UNIT_WORDS // max(1, self.lists.words.size)))
        run_blocks(work, len(query), threads=given.threads, block=block)
        if len(parts) == 1:
            rows, distances, offsets, compared = parts[0]
        else:
            kinds = np.int64, np.uint16, np.int64, np.int64
            found = [tuple(np.empty(0, kind) for kind in kinds)]
            found += [parts[start] for start in sorted(parts)]
            rows, distances, _, compared = map(np.concatenate, zip(*found, strict=True))
            counts = np.concatenate([np.diff(part[2]) for part in found])
            offsets = np.concatenate([[0], np.cumsum(counts)])
        matches = Matches(offsets, rows, distances)
        if sequence is None:
            return matches, compared
        back = np.empty(len(query), np.int64)
        back[sequence] = compared
        return join_queries([(sequence, matches)]), back
