"""The worker processes: started once, fed one cell at a time, replaced when one dies."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.bench.machine import GIB, describe_machine, peak_memory
from proxyhash.data import Split
from proxyhash.errors import InterruptedRunError, ProxyhashError, UsageError
from proxyhash.files import write_atomic, write_json
from proxyhash.progress import silent
from proxyhash.training import train
from proxyhash.training.folder import RunFolder
from proxyhash.training.prepare import Prepared, prepare, preparing_key

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from proxyhash.bench.cell import Cell
    from proxyhash.bench.machine import Share
    from proxyhash.training import RunResult, TrainConfig

__all__ = ["Filler", "Outcome", "fill_cells", "work"]

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
    """Yield the outcome of every cell as it comes; end early if `stop` returns true.

    Workers are spawned, not forked, since threads of torch do not survive a fork. When the
    generator is left, all of them end within seconds.

    Args:
        cells: the cells to fill, in this order.
        share: how many workers, with how many threads and how much memory.
        keep_models: whether model folders stay.
        stop: called several times per second.
        note: called with a sentence when a worker is dropped for lack of memory.
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
                            f"continuing with {limit}"
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
            target=work, args=(theirs, threads, keep_models), daemon=True
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
    """Set the number of threads of processes started inside the block, and let idle ones sleep."""
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


@dataclass(frozen=True)
class Outcome:
    """Result of one cell.

    Attributes:
        cell: the cell.
        error: the reason of the failure, or "".
        seconds: total time.
        peak: peak memory of the process so far, in bytes.
    """

    cell: Cell
    error: str
    seconds: float = 0.0
    peak: int = 0


def work(connection: Connection, threads: int, keep_models: bool) -> None:
    """Fill the cells that come through the connection until None comes, answering each.

    Ctrl-C is left to the parent, which ends its workers with SIGTERM. Where it is killed, so that
    it cannot, they end by themselves: whoever runs the suite again fills their cells.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    filler = Filler(threads=threads, keep_models=keep_models)
    try:
        while (cell := connection.recv()) is not None:
            connection.send(filler.try_to_fill(cell))
    except (EOFError, BrokenPipeError, InterruptedRunError):  # the parent is gone, or asks to stop
        return


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


class Filler:
    """Fills cells, and shares what they learn from between those that follow each other."""

    def __init__(self, *, threads: int, keep_models: bool) -> None:
        self._threads = threads
        self._keep_models = keep_models
        self._key: tuple[Any, ...] = ()
        self._prepared: Prepared | None = None

    def try_to_fill(self, cell: Cell) -> Outcome:
        """Fill a cell and return the result; a failure becomes a sentence, since others follow.

        Raises:
            InterruptedRunError: the process was asked to stop.
        """
        started = time.perf_counter()
        error = ""
        try:
            self._fill(cell)
        except InterruptedRunError:
            raise
        except ProxyhashError as problem:
            error = str(problem)
        except MemoryError:
            error = "out of memory; use fewer --processes"
        except Exception as problem:  # one bad cell must not end the others
            error = f"unexpected {type(problem).__name__}: {problem}"
        return Outcome(cell, error, time.perf_counter() - started, peak_memory())

    def _fill(self, cell: Cell) -> None:
        started = time.perf_counter()
        with RunFolder(cell.folder).hold():
            cell.clear()
            config = cell.config.model_copy(update={"threads": self._threads})
            prepared = self._shared(config)
            check_split(cell, prepared)
            own = _measure(cell, prepared) if cell.yardsticks else self._train(cell, prepared)
            record = {
                "method": cell.method,
                "seconds": round(time.perf_counter() - started, 3),
                **own,
                "threads": self._threads,
                "peak_memory": peak_memory(),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": describe_machine(),
                "shared_encoders": cell.shared_fingerprints,
            }
            write_json(cell.record, record)

    def _train(self, cell: Cell, prepared: Prepared) -> dict[str, Any]:
        config = cell.config.model_copy(update={"threads": self._threads})
        result = train(config, prepared=prepared, checkpoints=False, held=True)
        if not self._keep_models and not cell.keeps_model:
            shutil.rmtree(RunFolder(cell.folder).model)
        _write_average_precision(cell, result, prepared)
        return {"training_seconds": round(result.seconds, 3)}

    def _shared(self, config: TrainConfig) -> Prepared:
        key = preparing_key(config)
        if self._prepared is None or key != self._key:
            self._prepared = None  # frees the old features before the new ones are loaded
            self._prepared = prepare(config, cache=_cache())
            self._key = key
        return self._prepared


def _measure(cell: Cell, prepared: Prepared) -> dict[str, Any]:
    """Write the figures of yardsticks, and return what their record says of them."""
    from proxyhash.bench.yardsticks import measure

    assert cell.yardsticks is not None
    write_json(RunFolder(cell.folder).config, cell.config.to_dict())
    queries = prepared.query_features(cache=_cache(), track=silent)
    write_json(cell.figures, list(measure(cell, prepared, queries)))
    return {"yardsticks": cell.yardsticks.to_dict()}


def _cache() -> Any:
    from proxyhash.encoders import FeatureCache

    return FeatureCache()


def check_split(cell: Cell, prepared: Prepared) -> None:
    """Check that a cell's shared encoders were tuned on its own split, so that they saw no query.

    Raises:
        UsageError: they were not.
    """
    for modality in cell.shared:
        folder = RunFolder(Path(cell.config.encoders[modality]).parents[1])
        theirs = Split.load(folder.split, prepared.collection)
        for part in ("query", "train", "validation"):
            if set(getattr(theirs, part)) != set(getattr(prepared.split, part)):
                raise UsageError(
                    f"{cell.name} has other {part} items than the training of its {modality} "
                    "encoder; give query, train, validation and split_file in [options], for both"
                )


def _write_average_precision(cell: Cell, result: RunResult, prepared: Prepared) -> None:
    """Write float32 (q,) for each "GALLERY/DIRECTION", and the ids of the q queries.

    NaN stands where a query lacks the modality, or nothing in the gallery is relevant to it.
    """
    from proxyhash.evaluation import directions_of

    query = prepared.split.query
    present = {modality: given.present[query] for modality, given in prepared.features.items()}
    asked = {name: first for name, (first, _) in directions_of(present).items()}
    arrays: dict[str, Any] = {"queries": np.array([prepared.collection.ids[q] for q in query])}
    for evaluation in (result.evaluations.literature, result.evaluations.strict):
        for name, direction in evaluation.directions.items() if evaluation else ():
            values = np.full(len(query), np.nan, np.float32)
            values[present[asked[name]]] = direction.average_precision
            assert evaluation is not None
            arrays[f"{evaluation.protocol.gallery}/{name}"] = values
    with write_atomic(cell.average_precision) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
