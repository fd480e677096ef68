"""The rows that one device searches: kept there, or streamed through it in blocks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from proxyhash.codes.kernels import run_blocks
from proxyhash.index.engines.arguments import NO_ORDER
from proxyhash.index.engines.cuda.devices import interpreted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from proxyhash.index.engines.arguments import CodeRows

__all__ = ["Block", "Mask", "Shard"]

_MEMORY_PART = 0.8  # of a GPU's free memory, what codes and order may take
_STAGED = 2**28  # bytes of the two blocks of which one is copied while the other is searched
_SAMPLE, _LEAST_SAMPLE, _SAMPLED_PART = 2**20, 2**15, 256
_SIGN = np.uint64(2**63)
_INTERPRETER = threading.RLock()  # Triton's interpreter keeps its state in module variables


class Block(NamedTuple):
    """Rows that are on the device.

    Attributes:
        codes: signed words, (words, rows) or (rows, words).
        mask: uint8, one bit per row, None where every row may be returned.
        order: int64 (rows,), how equal distances rank, None where it is not on the device.
        first: which row of the shard the first is.
        size: how many rows these are.
        row_step: from a row to the next, in words.
        word_step: from a word of a row to the next, in words.
    """

    codes: torch.Tensor
    mask: torch.Tensor | None
    order: torch.Tensor | None
    first: int
    size: int
    row_step: int
    word_step: int


class Mask(NamedTuple):
    """Bits of the rows that may be returned, uint8 (ceil(n/8),): of all rows, and of the sample."""

    rows: npt.NDArray[np.uint8]
    sample: npt.NDArray[np.uint8]


class Shard:
    """Rows of an engine, and the device that searches them.

    Args:
        rows: the codes and their order; codes that do not fit are read from here by every search.
        device: where to search.
        memory: bytes of the device that codes and order may take. Default: four fifths of those
            that are free.
        threads: how many threads copy rows for the device.

    Attributes:
        bits: the code length.
        count: how many rows these are.
        order: uint64 (n,), how equal distances rank; empty for the order of the rows.
        sample: every so many of the rows, on the device.
        turn: held by the search that uses the device.
        native: whether the device has the bit-counting instruction of NVIDIA's GPUs.
    """

    def __init__(
        self, rows: CodeRows, device: torch.device, *, memory: int | None = None, threads: int
    ) -> None:
        self.bits, self.count, self.device = rows.bits, rows.count, device
        self.turn = _INTERPRETER if interpreted() else threading.RLock()
        self.native = device.type == "cuda" and torch.version.cuda is not None
        self._threads = threads
        size = rows.words.itemsize
        self._words = rows.words.view(f"i{size}").reshape(rows.count, rows.width)
        self._dtype = getattr(torch, f"int{8 * size}")
        # Rows whose ranks rise need none; a later renumbering changes no two places.
        rising = bool((rows.order[1:] > rows.order[:-1]).all())
        self.order = NO_ORDER if rising else rows.order
        self._resident: Block | None = None
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
        with self.here():
            self._place(self._room() if memory is None else memory)
            step = max(1, self.count // self._sample_size())
            self._sample_step, some = step, self.put(self._words[::step])
            self.sample = Block(some, None, None, 0, len(some), rows.width, 1)

    @property
    def streamed(self) -> bool:
        """Whether the codes do not fit, so that every search copies them to the device."""
        return self._resident is None

    @property
    def nbytes(self) -> int:
        """Memory that the device holds between searches, in bytes."""
        kept: list[torch.Tensor | None] = [self.sample.codes, *(pair[1] for pair in self._buffers)]
        if self._resident is not None:
            kept += [self._resident.codes, self._resident.order]
        return sum(one.nbytes for one in kept if one is not None)

    def here(self) -> AbstractContextManager[Any]:
        """Return a context in which kernels are started on this device."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def put(self, array: npt.NDArray[Any]) -> torch.Tensor:
        """Return a copy of an array on the device."""
        return torch.from_numpy(np.array(array)).to(self.device)

    def pack(self, mask: npt.NDArray[np.bool_]) -> Mask:
        """Return a mask, bool (n,), as the kernels take it."""
        bits = np.empty(-(-self.count // 8), np.uint8)

        def pack(start: int, stop: int) -> None:
            bits[start:stop] = np.packbits(mask[8 * start : 8 * stop], bitorder="little")

        run_blocks(pack, len(bits), threads=self._threads, block=2**20)
        return Mask(bits, np.packbits(mask[:: self._sample_step], bitorder="little"))

    def ranks(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return numbers that order rows of equal distance as `order` does."""
        return _signed(self.order[rows]) if self.order.size else rows

    def blocks(self, mask: Mask | None) -> Iterator[Block]:
        """Iterate over all rows in turn; a block is valid until the next is asked for.

        While the caller searches a block, another thread copies the next one to the device.
        """
        if self._resident is not None:
            bits = None if mask is None else self.put(mask.rows)
            yield self._resident._replace(mask=bits)
            return
        number = -(-self.count // len(self._buffers[0][0]))
        with ThreadPoolExecutor(1, thread_name_prefix="proxyhash-copy") as copier:
            coming = copier.submit(self._stage, 0)
            for following in range(1, number + 1):
                block = coming.result()
                if following < number:
                    coming = copier.submit(self._stage, following)
                if mask is not None:
                    first, last = block.first // 8, -(-(block.first + block.size) // 8)
                    block = block._replace(mask=self.put(mask.rows[first:last]))
                yield block

    def _room(self) -> int:
        """Return the bytes that codes and order may take on the device."""
        if self.device.type != "cuda":
            return self._words.nbytes + self.order.nbytes
        return int(_MEMORY_PART * torch.cuda.mem_get_info(self.device)[0])

    def _sample_size(self) -> int:
        return min(_SAMPLE, max(_LEAST_SAMPLE, self.count // _SAMPLED_PART))

    def _place(self, memory: int) -> None:
        """Copy the rows to the device, the order as well if it fits; or make buffers for blocks."""
        pinned, (_, width) = self.device.type == "cuda", self._words.shape
        row_bytes = max(1, width * self._words.itemsize)
        rows = max(8, min(_STAGED, memory) // (2 * row_bytes) // 8 * 8)
        if self._words.nbytes > memory:
            for _ in range(2):
                host = torch.empty((rows, width), dtype=self._dtype, pin_memory=pinned)
                self._buffers.append((host, torch.empty_like(host, device=self.device)))
            self._copies = _stream(self.device) if pinned else None
            return
        rows = max(1, min(rows, self.count))
        host = torch.empty((rows, width), dtype=self._dtype, pin_memory=pinned)
        codes = torch.empty((width, self.count), dtype=self._dtype, device=self.device)
        fits = self.order.size and self._words.nbytes + self.order.nbytes <= memory
        order = torch.empty(self.count, dtype=torch.int64, device=self.device) if fits else None
        for first in range(0, self.count, rows):
            last = min(first + rows, self.count)
            self._read(first, last, host)
            codes[:, first:last] = host[: last - first].to(self.device).t()
            if order is not None:
                order[first:last] = self.put(_signed(self.order[first:last]))
        self._resident = Block(codes, None, order, 0, self.count, 1, self.count)

    def _stage(self, number: int) -> Block:
        """Copy one of the blocks to the device, in a stream of its own."""
        host, there = self._buffers[number % 2]
        first = number * len(host)
        count = min(len(host), self.count - first)
        self._read(first, first + count, host)
        if self._copies is None:
            there[:count] = host[:count]
        else:
            with torch.cuda.stream(self._copies):
                there[:count].copy_(host[:count], non_blocking=True)
            self._copies.synchronize()
        return Block(there, None, None, first, count, self._words.shape[1], 1)

    def _read(self, first: int, last: int, host: torch.Tensor) -> None:
        """Copy some rows into a buffer, which is what reads them from a file that is mapped."""
        target, source = host.numpy(), self._words[first:last]

        def copy(start: int, stop: int) -> None:
            np.copyto(target[start:stop], source[start:stop])

        run_blocks(copy, last - first, threads=self._threads, block=2**20)


def _stream(device: torch.device) -> torch.cuda.Stream:
    stream: Any = torch.cuda.Stream  # of which torch does not tell the types
    return stream(device)  # type: ignore[no-any-return]


def _signed(order: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return signed numbers that compare as unsigned ones do."""
    return (order ^ _SIGN).view(np.int64)
