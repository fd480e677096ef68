"""Layout of the codes in the clustered engine: by list, then by distance from its center."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from proxyhash.codes.kernels import kernel, run_blocks
from proxyhash.errors import DataError
from proxyhash.files import naming_full_disk
from proxyhash.index.engines.arguments import frozen
from proxyhash.index.engines.clustered.centers import BLOCK, Words, as_long_words, assign

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.codes import Codes

__all__ = ["Lists", "load_lists", "make_lists", "save_lists"]

WORTH_GROUPING = 0.75
"""Equal codes are stored once where this share of the codes, or less, are different.

Above it the table of where each code's rows start would take more than it saves.
"""


class Lists(NamedTuple):
    """Codes in lists around centers; D is the number of codes stored.

    Attributes:
        centers: uint64 (C, W).
        spans: uint16 (2, C), the least and the greatest distance of a list's codes from its center.
        table: uint32 (C, K + 2); `table[c, x]` is the first code of list c that is at least x from
            it, and `table[c, K + 1]` the end of the list.
        words: uint64 (D, W), list after list, each by growing distance from its center.
        starts: uint32 (D + 1,), where the rows of each code start; empty where D = n.
        rows: uint32 (n,), the rows of each code by their order.
    """

    centers: Words
    spans: npt.NDArray[np.uint16]
    table: npt.NDArray[np.uint32]
    words: Words
    starts: npt.NDArray[np.uint32]
    rows: npt.NDArray[np.uint32]

    @property
    def nbytes(self) -> int:
        """The memory of all of it."""
        return sum(array.nbytes for array in self)


def make_lists(
    codes: Codes,
    centers: Words,
    *,
    bits: int,
    order: npt.NDArray[np.uint64],
    threads: int | None = None,
) -> Lists:
    """Return the codes, uint8 (n, B), laid out around the centers, ties by `order` or by row.

    Takes 12 bytes a code beside the result, and 8 more with an order.
    """
    count = len(codes)
    shells = np.empty(count, np.uint32)  # which list, and how far from its center

    def find_shells(start: int, stop: int) -> None:
        lists, distances = assign(as_long_words(codes[start:stop]), centers, threads=1)
        shells[start:stop] = lists * np.uint32(bits + 1) + distances

    run_blocks(find_shells, count, threads=threads, block=BLOCK)
    first = np.argsort(order)
    edges, rows = _by_shell(shells, first, len(centers) * (bits + 1))
    del shells, first
    words = np.empty((count, centers.shape[1]), np.uint64)
    fresh = np.empty(count, np.bool_)

    def sort_shells(start: int, stop: int) -> None:
        begin, end = edges[start], edges[stop]
        words[begin:end] = as_long_words(codes[rows[begin:end]])
        _sort_shells(edges[start : stop + 1], rows, words, fresh)

    run_blocks(sort_shells, len(edges) - 1, threads=threads, block=4 * (bits + 1))
    table = edges.astype(np.uint32)
    starts = np.empty(0, np.uint32)
    if np.count_nonzero(fresh) <= WORTH_GROUPING * count:
        starts = np.append(np.flatnonzero(fresh), count).astype(np.uint32)
        words = words[fresh]
        table = np.searchsorted(starts, table).astype(np.uint32)
    ends = np.append(table[bits + 1 :: bits + 1], table[-1])[: len(centers), None]
    table = np.hstack([table[:-1].reshape(len(centers), bits + 1), ends])
    arrays: tuple[npt.NDArray[Any], ...] = (centers, _spans(table), table, words, starts, rows)
    return Lists(*(frozen(array) for array in arrays))


def save_lists(lists: Lists, folder: Path) -> None:
    """Write each array into a file of its own."""
    for name, array in lists._asdict().items():
        path = folder / f"{name}.npy"
        with naming_full_disk(path):
            np.save(path, array, allow_pickle=False)


def load_lists(folder: Path, *, rows: int) -> Lists:
    """Return the lists that `save_lists` wrote, memory-mapped.

    Raises:
        DataError: a file is missing or damaged, or they are not about that many rows.
    """
    arrays = []
    for name in Lists._fields:
        path = folder / f"{name}.npy"
        try:
            arrays.append(frozen(np.load(path, mmap_mode="r", allow_pickle=False)))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read; rebuild the engine: {error}") from error
    lists = Lists(*arrays)
    codes = len(lists.starts) - 1 if len(lists.starts) else rows
    if len(lists.rows) != rows or len(lists.words) != codes:
        raise DataError(f"{folder} is inconsistent; rebuild the engine")
    return lists


def _spans(table: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
    """Return the least and greatest distance within each list; an empty one is out of reach."""
    filled = np.diff(table.astype(np.int64), axis=1) > 0
    last = filled.shape[1] - 1
    spans = np.stack([filled.argmax(axis=1), last - filled[:, ::-1].argmax(axis=1)])
    spans[:, ~filled.any(axis=1)] = np.array([[0xFFFF], [0]])
    return spans.astype(np.uint16)


@kernel
def _by_shell(
    shells: npt.NDArray[np.uint32], first: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Return where each shell starts, int64 (count + 1,), and the rows by shell.

    Rows of one shell stay in the sequence of `first`, or of the rows where that is empty.
    """
    edges = np.zeros(count + 1, np.int64)
    for row in range(shells.size):
        edges[shells[row] + 1] += 1
    for shell in range(count):
        edges[shell + 1] += edges[shell]
    places = edges.copy()
    rows = np.empty(shells.size, np.uint32)
    for turn in range(shells.size):
        row = first[turn] if first.size else turn
        shell = shells[row]
        rows[places[shell]] = row
        places[shell] += 1
    return edges, rows


@kernel
def _sort_shells(
    edges: npt.NDArray[np.int64],
    rows: npt.NDArray[np.uint32],
    words: Words,
    fresh: npt.NDArray[np.bool_],
) -> None:
    """Bring equal codes of each shell together, in place; `fresh` says where a code is new."""
    width = words.shape[1]
    for shell in range(edges.size - 1):
        start, stop = edges[shell], edges[shell + 1]
        if stop - start > 1:
            keys = np.zeros(stop - start, np.uint64)
            for place in range(width):
                for item in range(stop - start):
                    # FNV's prime: equal codes get equal keys. Where different ones do too, a code
                    # may be stored more than once, which does no harm.
                    keys[item] = keys[item] * np.uint64(0x100000001B3) ^ words[start + item, place]
            sequence = np.argsort(keys, kind="mergesort")
            old_rows = rows[start:stop].copy()
            old_words = words[start:stop].copy()
            for item in range(stop - start):
                rows[start + item] = old_rows[sequence[item]]
                words[start + item] = old_words[sequence[item]]
        for item in range(start, stop):
            new = item == start
            for place in range(width):
                if not new:
                    new = words[item, place] != words[item - 1, place]
            fresh[item] = new
