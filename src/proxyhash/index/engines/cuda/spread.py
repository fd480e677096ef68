"""Rows that are spread over the processes of torchrun, usually one for each GPU.

Process 0 asks: it sends each query to the others, which answer for their rows, and merges what
they send by (distance, order), as an engine merges the answers of its devices. For collections
that are larger than the GPUs of one machine, or than one process should hold.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from proxyhash.errors import ProxyhashError, UsageError
from proxyhash.index.engines.arguments import CodeRows, read_search
from proxyhash.index.engines.cuda.devices import interpreted
from proxyhash.index.engines.cuda.engine import CudaEngine
from proxyhash.index.engines.segmented.segments import merge_matches

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines.base import Matches

__all__ = ["SpreadEngine"]

_IDLE = timedelta(days=365)  # that processes wait for the next query


class Question(NamedTuple):
    """A search as process 0 sends it; None instead ends the others."""

    query: Codes
    k: int | None
    radius: int | None
    threads: int | None


class SpreadEngine:
    """Exact search over rows that are spread over the processes of torchrun.

    Every process builds it over the same codes, which are mapped from a file, and reads its own
    share of them. Then process 0 searches, and all others `follow`. A process that dies is noticed
    by torchrun, which ends the others.

    Example:
        A script for `torchrun --nproc-per-node 8 script.py`::

            with SpreadEngine.build(np.load("codes.npy", mmap_mode="r"), bits=64) as engine:
                if engine.rank:
                    engine.follow()
                else:
                    print(engine.search(query, k=10).rows)

    Attributes:
        bits: the code length.
        count: how many rows all processes hold.
        rank: the number of this process; 0 searches.
    """

    def __init__(
        self, rows: CodeRows, engine: CudaEngine, group: Any, *, rank: int, world: int
    ) -> None:
        self.bits, self.count, self.rank = rows.bits, rows.count, rank
        self._rows, self._engine, self._group, self._world = rows, engine, group, world
        self._turn = threading.Lock()
        self._open = True

    @classmethod
    def build(
        cls,
        codes: Codes,
        *,
        bits: int,
        order: npt.NDArray[np.uint64] | None = None,
        devices: str | None = None,
        **options: Any,
    ) -> Self:
        """Return the engine of this process; every process of torchrun calls it.

        Args:
            codes: packed codes, uint8 (n, ceil(bits/8)), the same in every process.
            bits: the code length.
            order: uint64 (n,), or None for the order of the rows.
            devices: the devices of this process. Default: the GPU whose number on this machine is
                that of the process, or the processor where Triton is interpreted.
            options: as `CudaEngine.build` takes them.

        Raises:
            UsageError: torchrun did not start this process, or as in `CudaEngine.build`.
        """
        import torch
        from torch import distributed

        if not distributed.is_initialized():
            if "LOCAL_RANK" not in os.environ:
                raise UsageError(
                    "rows are spread over the processes of torchrun, which did not start this one; "
                    "start it with: torchrun --nproc-per-node 2 SCRIPT.py, or build engine cuda"
                )
            distributed.init_process_group("gloo")
        group = distributed.new_group(backend="gloo", timeout=_IDLE)
        rank, world = distributed.get_rank(), distributed.get_world_size()
        rows = CodeRows(codes, bits=bits, order=order)
        start, stop = (rows.count * part // world for part in (rank, rank + 1))
        if devices is None and torch.cuda.is_available() and not interpreted():
            devices = f"cuda:{int(os.environ.get('LOCAL_RANK', rank)) % torch.cuda.device_count()}"
        engine = CudaEngine.build(
            codes[start:stop],
            bits=bits,
            order=None if order is None else order[start:stop],
            devices=devices,
            **options,
        )
        return cls(rows, engine, group, rank=rank, world=world)

    def search(
        self,
        query: Codes,
        *,
        k: int | None,
        radius: int | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> Matches:
        """Return the nearest rows of each query among those of all processes; process 0 calls it.

        See `Engine.search`.

        Raises:
            UsageError: this is another process, or the engine was closed.
            ProxyhashError: "process 3 failed: ...".
        """
        if self.rank:
            raise UsageError(f"process {self.rank} answers; call follow(), and search in process 0")
        if not self._open:
            raise UsageError("the engine was closed; build it again in every process")
        given = read_search(
            query, bits=self.bits, count=self.count, k=k, radius=radius, mask=mask, threads=threads
        )
        question = Question(query, k, radius, threads)
        with self._turn:
            self._tell(question)
            parts = self._answer(question, mask)
        for rank, part in enumerate(parts):
            if isinstance(part, str):
                raise ProxyhashError(f"process {rank} failed: {part}")
        found, *others = (part for part in parts if not isinstance(part, str))
        for part in others:
            found = merge_matches(found, part, order=self._rows.order, k=given.k)
        return found

    def follow(self) -> None:
        """Answer what process 0 asks until it closes the engine; every other process calls it."""
        while (question := self._tell(None)) is not None:
            self._answer(question, None)

    def close(self) -> None:
        """Let the other processes return from `follow`."""
        if self._open and not self.rank:
            with self._turn:
                self._tell(None)
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tell(self, question: Question | None) -> Question | None:
        """Return what process 0 tells all others."""
        from torch import distributed

        told = [question]
        distributed.broadcast_object_list(told, src=0, group=self._group)
        return told[0]

    def _answer(
        self, question: Question, mask: npt.NDArray[np.bool_] | None
    ) -> list[Matches | str]:
        """Return the answers of all processes in process 0, which has the mask; nothing elsewhere.

        One that fails answers with a sentence, so that no other waits for it.
        """
        from torch import distributed

        asks = not self.rank
        edges = [self._edge(rank) for rank in range(self._world + 1)]
        parts = [
            None if mask is None else np.packbits(mask[first:last])
            for first, last in pairwise(edges)
        ]
        allowed: list[npt.NDArray[np.uint8] | None] = [None]
        distributed.scatter_object_list(allowed, parts if asks else None, src=0, group=self._group)
        answer: Matches | str
        try:
            answer = self._search(question, allowed[0])
        except Exception as error:  # whatever a GPU fails with
            answer = f"{type(error).__name__}: {error}"
        answers: list[Any] | None = [None] * self._world if asks else None
        distributed.gather_object(answer, answers, dst=0, group=self._group)
        return answers or []

    def _search(self, question: Question, bits: npt.NDArray[np.uint8] | None) -> Matches:
        """Return the answer for the rows of this process, as rows of all."""
        count = self._engine.count
        mask = None if bits is None else np.unpackbits(bits, count=count).astype(np.bool_)
        found = self._engine.search(
            question.query,
            k=question.k,
            radius=question.radius,
            mask=mask,
            threads=question.threads,
        )
        return replace(found, rows=found.rows + self._edge(self.rank))

    def _edge(self, rank: int) -> int:
        """Return the first row of a process."""
        return self.count * rank // self._world
