"""Layout of the codes in the clustered engine: by list, then by distance from its center."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from proxyhash.codes.arrays import map_array
from proxyhash.codes.kernels import kernel, popcount, run_blocks
from proxyhash.files import naming_full_disk
from proxyhash.index.engines.arguments import frozen
from proxyhash.index.engines.clustered.centers import BLOCK, Words, as_long_words, assign
from proxyhash.index.engines.saved import check_saved, draw_key, first_state, mix

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.codes import Codes
    from proxyhash.index.engines.arguments import CodeRows

__all__ = ["Lists", "load_lists", "make_lists", "save_lists"]

WORTH_GROUPING = 0.75
"""Equal codes are stored once where this share of the codes, or less, are different.

Above it the table of where each code's rows start would take more than it saves.
"""


# Lists checked between two looks at Ctrl-C.
_UNIT_LISTS = 16


class Lists(NamedTuple):
    """Codes in lists around centers; D is the number of codes stored.

    Attributes:
        centers: uint64 (C, W).
        spans: uint16 (2, C), the least and the greatest distance of a list's codes from its center.
        table: uint32 (C, K + 2); `table[c, x]` is the first code of list c that is at least x from
            it, and `table[c, K + 1]` the end of the list.
        words: uint64 (D, W), list after list, each by growing distance from its center and, of
            equal distance, by code.
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


def load_lists(folder: Path, rows: CodeRows) -> Lists:
    """Return the lists that `save_lists` wrote, memory-mapped, after comparing all with the rows.

    Raises:
        DataError: a file is missing or damaged, or does not say what the codes and the order say.
    """
    kinds = {"centers": (np.uint64, 2), "spans": (np.uint16, 2), "table": (np.uint32, 2)}
    kinds |= {"words": (np.uint64, 2), "starts": (np.uint32, 1), "rows": (np.uint32, 1)}
    lists = Lists(
        *[
            frozen(map_array(folder / f"{name}.npy", dtypes=[kind], dimensions=dimensions))
            for name, (kind, dimensions) in kinds.items()
        ]
    )
    # In memory: distances to them are indices, which must not change with the file.
    lists = lists._replace(centers=frozen(lists.centers.copy()))
    count, width = lists.centers.shape
    codes = len(lists.words)
    check_saved(
        count > 0
        and width == -(-rows.codes.shape[1] // 8)
        and lists.spans.shape == (2, count)
        and lists.table.shape == (count, rows.bits + 2)
        and lists.words.shape == (codes, width)
        and lists.rows.shape == (rows.count,)
        and lists.starts.shape == ((codes + 1,) if lists.starts.size else (0,))
        and (lists.starts.size > 0 or codes == rows.count),
        folder,
        "the shapes of its lists do not fit the codes",
    )
    check_saved(_say_the_same(lists, rows), folder, "its lists are not those of the codes")
    return lists


def _say_the_same(lists: Lists, rows: CodeRows) -> bool:
    """Whether every row lies once, where its code is, with that at its distance from a center."""
    table, starts, codes = lists.table, lists.starts, len(lists.words)
    joined = table[0, 0] == 0 and table[-1, -1] == codes
    joined = joined and np.array_equal(table[1:, 0], table[:-1, -1])
    if starts.size:
        joined = joined and starts[0] == 0 and starts[-1] == rows.count
    # Beyond the last bit there is nothing, in centers as in codes.
    ends = lists.centers.view(np.uint8)[:, rows.codes.shape[1] :]
    last = lists.centers.view(np.uint8)[:, rows.codes.shape[1] - 1]
    if not joined or ends.any() or (rows.bits % 8 and (last & (0xFF >> rows.bits % 8)).any()):
        return False
    key, sums = draw_key(), list[tuple[bool, int]]()

    def add_lists(first: int, stop: int) -> None:
        fits, total = _sum_lists(lists, rows.order, first, stop, key)
        sums.append((bool(fits), int(total)))

    def take_rows(first: int, stop: int) -> None:
        total = _sum_rows(as_long_words(rows.codes[first:stop]), first, key)
        sums.append((True, -int(total)))

    run_blocks(add_lists, len(lists.centers), block=_UNIT_LISTS)
    run_blocks(take_rows, rows.count, block=BLOCK)
    alike = all(fits for fits, _ in sums) and sum(total for _, total in sums) % 2**64 == 0
    return alike and np.array_equal(lists.spans, _spans(table))


def _spans(table: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
    """Return the least and greatest distance within each list; an empty one is out of reach."""
    filled = np.diff(table.astype(np.int64), axis=1) > 0
    last = filled.shape[1] - 1
    spans = np.stack([filled.argmax(axis=1), last - filled[:, ::-1].argmax(axis=1)])
    spans[:, ~filled.any(axis=1)] = np.array([[0xFFFF], [0]])
    return spans.astype(np.uint16)


@kernel
def _sum_lists(
    lists: Lists,
    order: npt.NDArray[np.uint64],
    first: int,
    stop: int,
    key: npt.NDArray[np.uint64],
) -> tuple[bool, np.uint64]:
    """Return whether some lists hold codes by distance, with rows by order; the sum of the rows."""
    table, starts, rows, words = lists.table, lists.starts, lists.rows, lists.words
    total, fits, width, count = np.uint64(0), True, words.shape[1], rows.size
    for center in range(first, stop):
        for distance in range(table.shape[1] - 1):
            begin, end = np.int64(table[center, distance]), np.int64(table[center, distance + 1])
            if begin > end or end > words.shape[0]:
                return False, total
            for code in range(begin, end):
                apart = np.uint64(0)
                for place in range(width):
                    apart += popcount(words[code, place] ^ lists.centers[center, place])
                fits = fits and bool(apart == np.uint64(distance))
                rises = 0 if code == begin else _compare_codes(words, code - 1, code)
                fits = fits and rises >= 0
                entry, last = np.int64(code), np.int64(code) + 1
                if starts.size:
                    entry, last = np.int64(starts[code]), np.int64(starts[code + 1])
                if entry >= last or last > count:
                    return False, total
                # Rows of one code come by their order, also where it is stored for each of them.
                joined = code > begin and rises == 0
                before = np.int64(rows[entry - 1 if joined else entry])
                for turn in range(entry, last):
                    row = np.int64(rows[turn])
                    if turn > entry or joined:
                        if max(row, before) >= count:
                            return False, total
                        later = order[before] < order[row] if order.size else before < row
                        fits = fits and bool(later)
                        before = row
                    state = first_state(row, key)
                    for place in range(width):
                        state = mix(state, words[code, place], key)
                    total += state
    return fits, total


@kernel
def _compare_codes(words: Words, first: int, second: int) -> int:
    """Return 1 where the second code is the larger one, 0 where both are equal, else -1."""
    for place in range(words.shape[1]):
        if words[first, place] != words[second, place]:
            return 1 if words[first, place] < words[second, place] else -1
    return 0


@kernel
def _sum_rows(words: Words, first: int, key: npt.NDArray[np.uint64]) -> np.uint64:
    """Return the sum of rows from `first` on with these codes."""
    total = np.uint64(0)
    for place in range(words.shape[0]):
        state = first_state(first + place, key)
        for word in range(words.shape[1]):
            state = mix(state, words[place, word], key)
        total += state
    return total


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
    """Sort each shell by code, rows of equal ones as they come; `fresh` says where one is new."""
    width = words.shape[1]
    for shell in range(edges.size - 1):
        start, stop = edges[shell], edges[shell + 1]
        if stop - start > 1:
            for place in range(width - 1, -1, -1):
                sequence = np.argsort(words[start:stop, place], kind="mergesort")
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
