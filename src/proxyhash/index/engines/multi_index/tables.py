"""The tables of multi-index hashing: every row in one bucket per table, by a substring of its code.

A substring is some consecutive bits of one word of the code. Substrings need not cover the code:
rows that differ from a query in at most r bits differ from it in at most r // m bits of one of m
substrings either way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from proxyhash.codes.arrays import map_array
from proxyhash.codes.kernels import kernel, run_blocks
from proxyhash.index.engines.arguments import frozen
from proxyhash.index.engines.saved import check_saved, draw_key, first_state, mix

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from proxyhash.index.engines.arguments import CodeRows

__all__ = ["Tables", "build_tables", "load_tables", "save_tables", "substring_of"]

# Rows sorted into buckets between two looks at Ctrl-C.
_UNIT_ROWS = 2**21
# Buckets checked between two looks at Ctrl-C, of four rows or more on average.
_UNIT_BUCKETS = 2**14


class Tables(NamedTuple):
    """Buckets of rows for each of m substrings of `length` bits; kernels take it as it is.

    Attributes:
        words: int64 (m,), the word of the code that a substring is part of.
        shifts: int64 (m,), how far to shift that word to the right.
        starts: uint32 (m, 2**length + 1), where each bucket starts.
        pointers: uint8 (m, n * P), the rows by bucket, P bytes each, lowest byte first.
        beside: the word of the row's code after `words`, for each pointer, (m, n); or (m, 0).
    """

    words: npt.NDArray[np.int64]
    shifts: npt.NDArray[np.int64]
    starts: npt.NDArray[np.uint32]
    pointers: npt.NDArray[np.uint8]
    beside: npt.NDArray[Any]

    @property
    def nbytes(self) -> int:
        """Memory of the tables, in bytes."""
        return sum(part.nbytes for part in self)


def build_tables(rows: CodeRows, *, beside: bool, threads: int | None = None) -> Tables:
    """Return the tables over at most 2**32 - 1 rows, by counting sort; one thread per table.

    Args:
        rows: codes to sort into buckets.
        beside: whether to keep a word of the code beside each pointer.
        threads: how many threads to use; default all cores.
    """
    word_bits = 8 * rows.words.itemsize
    # Substrings of about log2(n) bits (Norouzi, Punjani and Fleet 2012), but with four rows a
    # bucket at least, lest the starts take more memory than the rows.
    size = math.log2(max(rows.count, 2))
    pieces = max(1, round(word_bits / size))
    length = max(1, min(word_bits // pieces, int(size) - 2))
    words = np.repeat(np.arange(rows.width), pieces)
    shifts = np.tile(np.arange(pieces) * (word_bits // pieces), rows.width)
    starts = np.zeros((len(words), 2**length + 1), np.uint32)
    pointers = np.empty((len(words), rows.count * _pointer_bytes(rows.count)), np.uint8)
    kept = np.empty((len(words), rows.count if beside else 0), rows.words.dtype)
    tables = Tables(words, shifts, starts, pointers, kept)

    def fill(first: int, last: int) -> None:
        for table in range(first, last):
            _fill_table(rows, tables, table)

    run_blocks(fill, len(words), threads=threads, block=1)
    return Tables(*[frozen(part) for part in tables])


def _fill_table(rows: CodeRows, tables: Tables, table: int) -> None:
    units = range(0, rows.count, _UNIT_ROWS)
    starts = tables.starts[table]
    for first in units:
        last = min(first + _UNIT_ROWS, rows.count)
        _count_rows(rows.words, rows.width, first, last, tables, table)
    np.cumsum(starts, out=starts)
    free = starts[:-1].copy()
    for first in units:
        last = min(first + _UNIT_ROWS, rows.count)
        _place_rows(rows.words, rows.width, first, last, tables, table, free)


def save_tables(tables: Tables, folder: Path) -> None:
    """Write each array of the tables into a folder, as a `.npy` file."""
    for name, array in tables._asdict().items():
        np.save(folder / f"{name}.npy", array)


def load_tables(folder: Path, rows: CodeRows) -> Tables:
    """Return the tables that `save_tables` wrote, memory-mapped, after comparing all with the rows.

    Raises:
        DataError: a file is missing or damaged, or does not say what the codes say.
    """
    kinds: dict[str, tuple[npt.DTypeLike, int]] = {
        "words": (np.int64, 1),
        "shifts": (np.int64, 1),
        "starts": (np.uint32, 2),
        "pointers": (np.uint8, 2),
        "beside": (rows.words.dtype, 2),
    }
    parts = [
        map_array(folder / f"{name}.npy", dtypes=[kind], dimensions=dimensions)
        for name, (kind, dimensions) in kinds.items()
    ]
    # In memory: they tell where in a code to look, which must not change with the file.
    parts[:2] = [part.copy() for part in parts[:2]]
    tables = Tables(*[frozen(part) for part in parts])
    count, edges = tables.starts.shape
    length = (edges - 1).bit_length() - 1
    check_saved(
        count > 0
        and edges > 2
        and edges == 2**length + 1
        and tables.words.shape == tables.shifts.shape == (count,)
        and tables.pointers.shape == (count, rows.count * _pointer_bytes(rows.count))
        and tables.beside.shape in {(count, 0), (count, rows.count)},
        folder,
        "the shapes of its tables do not fit the codes",
    )
    word_bits = 8 * rows.words.itemsize
    places = np.sort(tables.words * np.int64(word_bits) + tables.shifts)
    check_saved(
        bool(
            ((tables.words >= 0) & (tables.words < rows.width)).all()
            and ((tables.shifts >= 0) & (tables.shifts <= word_bits - length)).all()
            and (np.diff(places) >= length).all()
        ),
        folder,
        "its substrings overlap, or lie outside of the code",
    )
    check_saved(_say_the_same(tables, rows), folder, "its tables are not those of the codes")
    return tables


def _say_the_same(tables: Tables, rows: CodeRows) -> bool:
    """Whether every row lies where its code says, once in each table, with its word beside."""
    starts, key = tables.starts, draw_key()
    if starts[:, 0].any() or (starts[:, -1] != rows.count).any():
        return False
    buckets = starts.shape[1] - 1
    sums: list[tuple[bool, int]] = []

    def add_buckets(first: int, last: int) -> None:
        while first < last:
            table, bucket = divmod(first, buckets)
            stop = min(buckets, bucket + last - first)
            rising, total = _sum_buckets(tables, table, bucket, stop, rows.count, key)
            sums.append((bool(rising), int(total)))
            first += stop - bucket

    def take_rows(first: int, last: int) -> None:
        total = _sum_rows(rows.words, rows.width, first, last, tables, key)
        sums.append((True, -int(total)))

    run_blocks(add_buckets, len(starts) * buckets, block=_UNIT_BUCKETS)
    run_blocks(take_rows, rows.count, block=_UNIT_ROWS // 16)
    return all(rising for rising, _ in sums) and sum(total for _, total in sums) % 2**64 == 0


def _pointer_bytes(count: int) -> int:
    return 3 if count <= 2**24 else 4


@kernel
def substring_of(word: Any, shift: int, buckets: int) -> np.int64:
    """Return the substring of a word as a number below `buckets`, a power of two."""
    return np.int64((np.uint64(word) >> np.uint64(shift)) & np.uint64(buckets - 1))


@kernel
def _count_rows(
    codes: npt.NDArray[Any], width: int, first: int, last: int, tables: Tables, table: int
) -> None:
    starts, word = tables.starts[table], tables.words[table]
    shift, buckets = tables.shifts[table], starts.size - 1
    for row in range(first, last):
        starts[substring_of(codes[row * width + word], shift, buckets) + 1] += 1


@kernel
def _sum_buckets(
    tables: Tables, table: int, first: int, last: int, count: int, key: npt.NDArray[np.uint64]
) -> tuple[bool, np.uint64]:
    """Return whether some buckets of a table rise within it, and the sum of what they hold."""
    starts, pointers, beside = tables.starts[table], tables.pointers[table], tables.beside[table]
    size = pointers.size // count if count else 0
    kind, total = np.uint64(table) << np.uint64(48), np.uint64(0)
    for bucket in range(first, last):
        start, stop = np.int64(starts[bucket]), np.int64(starts[bucket + 1])
        if start > stop or stop > count:
            return False, total
        for place in range(start, stop):
            row = kind
            for byte in range(size):
                row |= np.uint64(pointers[place * size + byte]) << np.uint64(8 * byte)
            state = mix(first_state(row, key), bucket, key)
            total += mix(state, beside[place], key) if beside.size else state
    return True, total


@kernel
def _sum_rows(
    codes: npt.NDArray[Any],
    width: int,
    first: int,
    last: int,
    tables: Tables,
    key: npt.NDArray[np.uint64],
) -> np.uint64:
    """Return the sum of what all tables hold of some rows."""
    total = np.uint64(0)
    for table in range(len(tables.words)):
        word, shift, buckets = tables.words[table], tables.shifts[table], tables.starts.shape[1] - 1
        following, kind = (word + 1) % width, np.uint64(table) << np.uint64(48)
        for row in range(first, last):
            bucket = substring_of(codes[row * width + word], shift, buckets)
            state = mix(first_state(np.uint64(row) | kind, key), bucket, key)
            if tables.beside.shape[1]:
                state = mix(state, codes[row * width + following], key)
            total += state
    return total


@kernel
def _place_rows(
    codes: npt.NDArray[Any],
    width: int,
    first: int,
    last: int,
    tables: Tables,
    table: int,
    free: npt.NDArray[np.uint32],
) -> None:
    pointers, beside, word = tables.pointers[table], tables.beside[table], tables.words[table]
    shift, buckets, following = tables.shifts[table], free.size, (word + 1) % width
    size = pointers.size // (codes.size // width)
    for row in range(first, last):
        bucket = substring_of(codes[row * width + word], shift, buckets)
        place = np.int64(free[bucket])
        free[bucket] += np.uint32(1)
        for byte in range(size):
            pointers[place * size + byte] = (row >> (8 * byte)) & 0xFF
        if beside.size:
            beside[place] = codes[row * width + following]
