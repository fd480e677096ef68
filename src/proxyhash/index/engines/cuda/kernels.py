"""The two loops over codes on a GPU: collect what is near enough, and count distances.

Written in Triton (Tillet, Kung, Cox, MAPL 2019). The same functions run in Triton's interpreter on
a processor, where `TRITON_INTERPRET=1` was set before this module was imported.

A code is `WORDS` signed integers of 8 to 64 bits; word w of row r lies at `row_step * r +
word_step * w`. Rows are counted within the block of rows that a kernel is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DISTANCE_SHIFT", "QUERY_SHIFT", "ROW_MASK", "collect", "count_distances"]

DISTANCE_SHIFT, QUERY_SHIFT = 40, 51
"""An entry is one int64: 12 bits of query, 11 of distance, 40 of row, so that entries as numbers
are ordered by (query, distance, row)."""
ROW_MASK = 2**DISTANCE_SHIFT - 1


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function for the GPU on its first call, or interpret it.

    Triton compiles again for arguments of 1 or that divide by 16, by which only the steps gain.
    """
    plain = ("start", "stop", "first", "asked", "rounds", "share", "room")
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return triton.jit(function, do_not_specialize=[name for name in plain if name in names])


@kernel
def _popcount(word, ASM: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the number of one bits of each signed integer.

    With `ASM` by the instruction of NVIDIA's GPUs, otherwise by adding up neighboring bits (Warren,
    Hacker's Delight, 5-1).
    """
    if word.dtype.primitive_bitwidth == 64:
        if ASM:
            bits = tl.inline_asm_elementwise(
                "popc.b64 $0, $1;", "=r,l", [word], dtype=tl.int32, is_pure=True, pack=1
            )
        else:
            wide = word.to(tl.uint64, bitcast=True)
            wide = wide - ((wide >> 1) & 0x5555555555555555)
            wide = (wide & 0x3333333333333333) + ((wide >> 2) & 0x3333333333333333)
            wide = (wide + (wide >> 4)) & 0x0F0F0F0F0F0F0F0F
            wide = wide + (wide >> 8)
            wide = wide + (wide >> 16)
            bits = ((wide + (wide >> 32)) & 0x7F).to(tl.int32)
    else:
        short = word.to(tl.int32)
        if word.dtype.primitive_bitwidth < 32:  # its sign fills the bits above it
            short = short & ((1 << word.dtype.primitive_bitwidth) - 1)
        if ASM:
            bits = tl.inline_asm_elementwise(
                "popc.b32 $0, $1;", "=r,r", [short], dtype=tl.int32, is_pure=True, pack=1
            )
        else:
            part = short.to(tl.uint32, bitcast=True)
            part = part - ((part >> 1) & 0x55555555)
            part = (part & 0x33333333) + ((part >> 2) & 0x33333333)
            part = (part + (part >> 4)) & 0x0F0F0F0F
            part = part + (part >> 8)
            bits = ((part + (part >> 16)) & 0x3F).to(tl.int32)
    return bits


@kernel
def _allowed(mask, rows, there):  # type: ignore[no-untyped-def]
    """Return which of the rows are there and allowed by a mask of bits, the lowest bit first."""
    byte = tl.load(mask + (rows >> 3), mask=there, other=0).to(tl.int32)
    return there & (((byte >> (rows & 7).to(tl.int32)) & 1) != 0)


@kernel
def collect(  # type: ignore[no-untyped-def]
    codes,
    mask,
    order,
    queries,
    radii,
    limits,
    entries,
    size,
    start,
    stop,
    first,
    asked,
    rounds,
    share,
    room,
    row_step,
    word_step,
    WORDS: tl.constexpr,
    MASKED: tl.constexpr,
    TIES: tl.constexpr,
    ASM: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Append an entry for every row within its query's radius, in any order.

    A program compares `rounds` times `BLOCK` rows with `share` queries, `TILE` at a time. It must
    be of one warp: warps that see different sizes would wait for one another. Near rows are rare,
    so each takes its place in the buffer by an atomic addition of its own. Once the buffer is full,
    programs that have not begun do nothing: the host sees `size` above `room` and asks for less.

    Args:
        codes: the words of the block.
        mask: uint8, one bit per row of the block; read if `MASKED`.
        order: int64, the rank of each row of the block among equal distances; read if `TIES` is 2.
        queries: the words of the queries, (asked, WORDS).
        radii: int32 (asked,), in bits; -1 for nothing.
        limits: int64 (asked,); the last rank that counts at the radius, unless `TIES` is 0.
        entries: int64 (room,), the buffer.
        size: int64 (1,), how many entries were found.
        start: the first row of the block to look at.
        stop: the row of the block to stop before.
        first: the row that row 0 of the block is.
        asked: the number of queries.
        rounds: blocks of rows per program.
        share: queries per program.
        room: the length of `entries`.
        row_step: from a row to the next, in words.
        word_step: from a word to the next, in words.
        WORDS: words per code.
        MASKED: whether there is a mask.
        TIES: 0 if all rows at the radius are wanted, 1 if rows rank as they lie, 2 by `order`.
        ASM: whether to count bits by the instruction of NVIDIA's GPUs.
        TILE: queries at a time, a power of 2.
        BLOCK: rows at a time, a power of 2.
    """
    block = tl.program_id(0).to(tl.int64) * rounds
    begin = tl.program_id(1) * share
    end = tl.minimum(begin + share, asked)
    far = tl.cast(1, tl.int64) * word_step
    if tl.load(size) <= room:
        for turn in range(rounds):
            rows = start + (block + turn) * BLOCK + tl.arange(0, BLOCK)
            there = rows < stop
            first_word = tl.load(codes + rows * row_step, mask=there, other=0)
            if MASKED:
                there = _allowed(mask, rows, there)
            for tile in range(begin, end, TILE):
                numbers = tile + tl.arange(0, TILE)
                known = numbers < end
                words = tl.load(queries + numbers * WORDS, mask=known, other=0)
                distance = _popcount(first_word[None, :] ^ words[:, None], ASM)
                for word in tl.static_range(1, WORDS):
                    code = tl.load(codes + rows * row_step + word * far, mask=there, other=0)
                    words = tl.load(queries + numbers * WORDS + word, mask=known, other=0)
                    distance += _popcount(code[None, :] ^ words[:, None], ASM)
                radius = tl.load(radii + numbers, mask=known, other=-1)
                # Mostly no row is near; then nothing else is done for the tile.
                if tl.min(distance - radius[:, None]) <= 0:
                    near = (distance <= radius[:, None]) & there[None, :]
                    ranks = (rows + first)[None, :] + tl.zeros((TILE, 1), tl.int64)
                    if TIES > 0:
                        limit = tl.load(limits + numbers, mask=known, other=0)
                        tied = near & (distance == radius[:, None])
                        behind = ranks
                        if TIES == 2:
                            places = rows[None, :] + tl.zeros((TILE, 1), tl.int64)
                            behind = tl.load(order + places, mask=tied, other=0)
                        near = near & ((distance < radius[:, None]) | (behind <= limit[:, None]))
                    ones = tl.zeros((TILE, BLOCK), tl.int64) + 1
                    place = tl.atomic_add(size + ones - 1, ones, mask=near, sem="relaxed")
                    query = numbers.to(tl.int64)[:, None] << 51
                    entry = query | (distance.to(tl.int64) << 40) | ranks
                    tl.store(entries + place, entry, mask=near & (place < room))


@kernel
def count_distances(  # type: ignore[no-untyped-def]
    codes,
    mask,
    queries,
    counts,
    stop,
    asked,
    row_step,
    word_step,
    WORDS: tl.constexpr,
    MASKED: tl.constexpr,
    ASM: tl.constexpr,
    BINS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up how many rows are at each distance of each query.

    A program compares `BLOCK` rows with `TILE` queries.

    Args:
        codes: the words of the block.
        mask: uint8, one bit per row of the block; read if `MASKED`.
        queries: the words of the queries, (asked, WORDS).
        counts: int64 (asked, BINS); the last bin is for rows that are not there.
        stop: the number of rows.
        asked: the number of queries.
        row_step: from a row to the next, in words.
        word_step: from a word to the next, in words.
        WORDS: words per code.
        MASKED: whether there is a mask.
        ASM: whether to count bits by the instruction of NVIDIA's GPUs.
        BINS: a power of 2, at least the code length + 2.
        TILE: queries per program, a power of 2.
        BLOCK: rows per program.
    """
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tile = tl.program_id(1) * TILE
    numbers = tile + tl.arange(0, TILE)
    there = rows < stop
    if MASKED:
        there = _allowed(mask, rows, there)
    distance = tl.zeros((TILE, BLOCK), tl.int32)
    far = tl.cast(1, tl.int64) * word_step
    for word in tl.static_range(WORDS):
        code = tl.load(codes + rows * row_step + word * far, mask=there, other=0)
        words = tl.load(queries + numbers * WORDS + word, mask=numbers < asked, other=0)
        distance += _popcount(code[None, :] ^ words[:, None], ASM)
    distance = tl.where(there[None, :], distance, BINS - 1)
    places = distance + tl.arange(0, TILE)[:, None] * BINS
    found = tl.histogram(tl.reshape(places, (TILE * BLOCK,)), TILE * BINS)
    bins = tile * BINS + tl.arange(0, TILE * BINS)
    tl.atomic_add(counts + bins, found.to(tl.int64), mask=bins < asked * BINS, sem="relaxed")
