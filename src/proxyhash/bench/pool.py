"""The worker processes: started once, fed one cell at a time, replaced when one dies."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from proxyhash.bench.machine import GIB
from proxyhash.bench.worker import Outcome, work

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from proxyhash.bench.cell import Cell
    from proxyhash.bench.machine import Share

__all__ = ["fill_cells"]

_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 3.0


def fill_cells(
    cells: Sequence[Cell],
    *,
    share: Share,
    keep_models: bool,
    stop: Callable[[], bool],
    note: Callable[[str], None],
) -> Generator[Outcome, None, None]:
    """Yield the outcome of every cell as it comes; end early where `stop` says so.

    Workers are spawned, not forked, since threads of torch do not survive a fork. When the
    generator is left, all of them end within seconds.

    Args:
        cells: what to fill, in this order.
        share: how many workers, with how many threads and how much memory.
        keep_models: whether model folders stay.
        stop: asked several times a second.
        note: told when a worker is given up for lack of memory.
    """
    waiting = deque(cells)
    workers: list[_Worker] = []
    limit = share.processes
    try:
        with _environment(threads=share.threads):
            while not stop():
                while waiting and len(workers) < min(limit, len(waiting) + _busy(workers)):
                    workers.append(_Worker(threads=share.threads, keep_models=keep_models))
                for worker in [each for each in workers if each.cell is None]:
                    if waiting and len(workers) <= limit:
                        worker.give(waiting.popleft())
                    else:
                        worker.dismiss()
                        workers.remove(worker)
                if not workers:
                    return
                for ready in wait([each.connection for each in workers], _POLL_SECONDS):
                    worker = next(each for each in workers if each.connection is ready)
                    outcome = worker.answer()
                    if worker.dead:
                        workers.remove(worker)
                    fitting = int(share.memory // outcome.peak) if outcome.peak else limit
                    if fitting < limit and limit > 1:
                        limit = max(1, fitting)
                        note(
                            f"a process took {outcome.peak / GIB:.1f} GiB, more than expected; "
                            f"going on with {limit}"
                        )
                    yield outcome
    finally:
        _end(workers)


class _Worker:
    """One process and the cell it is at."""

    def __init__(self, *, threads: int, keep_models: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, threads, keep_models), daemon=True
        )
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the connection
        self.cell: Cell | None = None
        self.dead = False

    def give(self, cell: Cell) -> None:
        self.cell = cell
        with suppress(BrokenPipeError):  # it died meanwhile; the answer will say so
            self.connection.send(cell)

    def answer(self) -> Outcome:
        cell, self.cell = self.cell, None
        assert cell is not None
        try:
            outcome: Outcome = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            self.connection.close()
            self.dead = True
            return Outcome(cell, _death(self.process.exitcode), 0.0, 0)
        return outcome

    def dismiss(self) -> None:
        with suppress(BrokenPipeError):
            self.connection.send(None)
        self.process.join(_PATIENCE_SECONDS)
        _end([self])


def _serve(connection: Connection, threads: int, keep_models: bool) -> None:
    work(connection, threads=threads, keep_models=keep_models)


def _busy(workers: Sequence[_Worker]) -> int:
    return sum(each.cell is not None for each in workers)


def _end(workers: Sequence[_Worker]) -> None:
    """End the processes: asked first, killed when they do not listen."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(_PATIENCE_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        hint = "; was memory short? --memory or --processes set less" if code == -9 else ""
        return f"its process was ended by signal {-code}{hint}"
    return f"its process ended with code {code}"


@contextmanager
def _environment(*, threads: int) -> Iterator[None]:
    """Give processes that start inside the block their number of threads, and let these sleep."""
    wanted = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"))
    values = {**dict.fromkeys(wanted, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
