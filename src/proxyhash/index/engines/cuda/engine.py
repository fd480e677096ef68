"""The engine that compares every code on GPUs.

It has never run on a GPU, only in Triton's interpreter on a processor: its answers are tested
there, its speed has not been measured (docs/gpu.md).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from proxyhash.codes.kernels import default_threads
from proxyhash.errors import DataError, MissingExtraError, OutOfMemoryError, UsageError
from proxyhash.index.engines.arguments import CodeRows, check_known, read_search
from proxyhash.index.engines.base import Matches, read_header, register_engine, write_header
from proxyhash.index.engines.cuda.devices import choose_devices
from proxyhash.index.engines.segmented.segments import merge_matches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines.cuda.shard import Shard

__all__ = ["CudaEngine"]

ROOM = 2**22
"""Entries of the buffer: 32 MB, and as much again a few times while they are sorted."""


@register_engine
class CudaEngine:
    """Compares every code on one GPU or several: exact, with the same answers as the scan.

    Each device has an equal share of the rows, one behind the other, and answers for those; the
    answers are merged by (distance, order). Rows that do not fit on their device are streamed
    through it by every search. The kernels are written in Triton; with `TRITON_INTERPRET=1` they
    run on the processor, to test them.

    It has never run on a GPU, only in the interpreter.

    Attributes:
        bits: the code length.
        count: how many rows it holds.
        devices: names of the devices, one for each share of the rows.
        streamed: whether each share is streamed.
    """

    name: ClassVar[str] = "cuda"
    exact: ClassVar[bool] = True
    checks_saved: ClassVar[bool] = True

    def __init__(self, rows: CodeRows, shards: Sequence[tuple[int, Shard]], *, room: int) -> None:
        self.bits, self.count = rows.bits, rows.count
        self._rows = rows
        self._shards = tuple(shards)
        self._room = room
        self._pool = ThreadPoolExecutor(len(shards), thread_name_prefix="proxyhash-gpu")

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the names of the devices, one for each share of the rows."""
        return tuple(str(shard.device) for _, shard in self._shards)

    @property
    def streamed(self) -> tuple[bool, ...]:
        """Return whether each share of the rows is streamed through its device."""
        return tuple(shard.streamed for _, shard in self._shards)

    @property
    def nbytes(self) -> int:
        """Memory of the codes and the order, here and on the devices, in bytes."""
        return self._rows.nbytes + sum(shard.nbytes for _, shard in self._shards)

    @classmethod
    def check_usable(cls) -> None:
        """Check that there is a GPU, or the interpreter, see `choose_devices`."""
        choose_devices()

    @classmethod
    def build(
        cls,
        codes: Codes,
        *,
        bits: int,
        order: npt.NDArray[np.uint64] | None = None,
        devices: str | Sequence[str] | None = None,
        memory: int | None = None,
        room: int = ROOM,
        threads: int | None = None,
        **options: Any,
    ) -> Self:
        """Return the engine over codes uint8 (n, ceil(bits/8)); see `Engine.build`.

        Args:
            codes: packed codes.
            bits: the code length.
            order: uint64 (n,), or None for the order of the rows.
            devices: such as "cuda:0,cuda:1"; one that is named twice has two shares. Default: all
                GPUs, which the variable `CUDA_VISIBLE_DEVICES` limits.
            memory: bytes that each share may take on its device; more are streamed. Default: four
                fifths of those that are free.
            room: rows that are collected at a time, 8 bytes each.
            threads: how many threads copy rows to a device; default all cores.
            options: none.

        Raises:
            MissingExtraError: Triton is not installed.
            UsageError: there is no GPU, or an option is unknown or out of range.
        """
        check_known(cls.name, options)
        for name, value in (("memory", memory), ("room", room)):
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")
        rows = CodeRows(codes, bits=bits, order=order)
        chosen = choose_devices(devices)
        from proxyhash.index.engines.cuda.shard import Shard

        edges = np.linspace(0, rows.count, len(chosen) + 1).astype(np.int64).tolist()
        shards = []
        for device, start, stop in zip(chosen, edges, edges[1:], strict=False):
            part = order[start:stop] if order is not None else None
            share = CodeRows(codes[start:stop], bits=bits, order=part)
            copiers = default_threads() if threads is None else threads
            shards.append((start, Shard(share, device, memory=memory, threads=copiers)))
        return cls(rows, shards, room=room)

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

        Raises:
            OutOfMemoryError: "the GPU has not enough free memory ...".
        """
        from proxyhash.index.engines.cuda.search import nothing, search_shard

        given = read_search(
            query, bits=self.bits, count=self.count, k=k, radius=radius, mask=mask, threads=threads
        )
        if not given.allowed:
            return nothing(len(query))
        words = given.query.view(f"i{given.query.itemsize}")

        def ask(start: int, shard: Shard) -> Matches:
            allowed = given.mask[start : start + shard.count] if given.mask.size else None
            found = search_shard(
                shard,
                words,
                k=given.k if given.limited else None,
                radius=given.radius,
                mask=allowed,
                room=self._room,
            )
            return replace(found, rows=found.rows + start)

        import torch

        try:
            parts = (
                [ask(*self._shards[0])]
                if len(self._shards) == 1
                else list(self._pool.map(lambda shard: ask(*shard), self._shards))
            )
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                "the GPU has not enough free memory for this search; build the engine with less of "
                f"it for codes (memory=), or search for fewer neighbors at a time: {error}"
            ) from error
        found = parts[0]
        for part in parts[1:]:
            found = merge_matches(found, part, order=self._rows.order, k=given.k)
        return found

    def save(self, folder: Path) -> None:
        """Write the engine's header; see `Engine.save`."""
        write_header(folder, engine=self.name, bits=self.bits, count=self.count)

    @classmethod
    def load(
        cls, folder: Path, codes: Codes, *, order: npt.NDArray[np.uint64] | None = None
    ) -> Self:
        """Return the engine over the same codes and order, on all GPUs; see `Engine.load`.

        Raises:
            DataError: it cannot run on this machine, or as in `Engine.load`.
        """
        header = read_header(folder, engine=cls.name, codes=codes)
        try:
            return cls.build(codes, bits=header["bits"], order=order)
        except (MissingExtraError, UsageError) as error:
            raise DataError(f"{folder} is for a machine with a GPU: {error}") from error
