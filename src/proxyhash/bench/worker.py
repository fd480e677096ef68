"""A worker process: it fills one cell after the other, and keeps what the next may share."""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.bench.machine import describe_machine, peak_memory
from proxyhash.errors import InterruptedRunError, ProxyhashError
from proxyhash.files import write_atomic, write_json
from proxyhash.training import train
from proxyhash.training.folder import RunFolder
from proxyhash.training.prepare import PREPARING_KEYS, Prepared, prepare

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from proxyhash.bench.cell import Cell
    from proxyhash.training import RunResult, TrainConfig

__all__ = ["Outcome", "work"]


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        cell: which.
        error: why it failed, or "".
        seconds: how long it took as a whole.
        peak: most bytes of memory the process ever had, so far.
    """

    cell: Cell
    error: str
    seconds: float
    peak: int


def work(connection: Connection, *, threads: int, keep_models: bool) -> None:
    """Fill the cells that come through the connection until None comes, answering each.

    Ctrl-C is left to the parent, which ends its workers with SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    filler = _Filler(threads=threads, keep_models=keep_models)
    try:
        while (cell := connection.recv()) is not None:
            started = time.perf_counter()
            error = ""
            try:
                filler.fill(cell)
            except InterruptedRunError:
                return
            except ProxyhashError as problem:
                error = str(problem)
            except MemoryError:
                error = "out of memory; use fewer --processes"
            except Exception as problem:  # one bad cell must not end the others
                error = f"unexpected {type(problem).__name__}: {problem}"
            seconds = time.perf_counter() - started
            connection.send(Outcome(cell, error, seconds, peak_memory()))
    except (EOFError, BrokenPipeError):  # the parent is gone
        return


class _Filler:
    """Fills cells, and shares what they learn from between those that follow each other."""

    def __init__(self, *, threads: int, keep_models: bool) -> None:
        self._threads = threads
        self._keep_models = keep_models
        self._key: tuple[Any, ...] = ()
        self._prepared: Prepared | None = None

    def fill(self, cell: Cell) -> None:
        started = time.perf_counter()
        cell.clear()
        config = cell.config.model_copy(update={"threads": self._threads})
        result = train(config, prepared=self._shared(config), checkpoints=False)
        if not self._keep_models:
            shutil.rmtree(RunFolder(cell.folder).model)
        assert self._prepared is not None
        _write_average_precision(cell, result, self._prepared)
        record = {
            "method": cell.method,
            "seconds": round(time.perf_counter() - started, 3),
            "training_seconds": round(result.seconds, 3),
            "threads": self._threads,
            "peak_memory": peak_memory(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe_machine(),
        }
        write_json(cell.record, record)

    def _shared(self, config: TrainConfig) -> Prepared:
        key = tuple(getattr(config, name) for name in PREPARING_KEYS)
        if self._prepared is None or key != self._key:
            self._prepared = None  # the old features make room before the new ones come
            self._prepared = prepare(config, cache=_cache())
            self._key = key
        return self._prepared


def _cache() -> Any:
    from proxyhash.encoders import FeatureCache

    return FeatureCache()


def _write_average_precision(cell: Cell, result: RunResult, prepared: Prepared) -> None:
    """Write float32 (q,) for each "GALLERY/DIRECTION", and the ids of the q queries.

    NaN stands where a query lacks the modality, or nothing in the gallery is relevant to it.
    """
    from proxyhash.evaluation import DIRECTIONS

    query = prepared.split.query
    present = {modality: given.present[query] for modality, given in prepared.features.items()}
    arrays: dict[str, Any] = {"queries": np.array([prepared.collection.ids[q] for q in query])}
    for evaluation in (result.evaluations.literature, result.evaluations.strict):
        for name, direction in evaluation.directions.items() if evaluation else ():
            values = np.full(len(query), np.nan, np.float32)
            values[present[DIRECTIONS[name][0]]] = direction.average_precision
            assert evaluation is not None
            arrays[f"{evaluation.protocol.gallery}/{name}"] = values
    with write_atomic(cell.average_precision) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
