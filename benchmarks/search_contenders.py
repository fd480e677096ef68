"""Contenders of benchmarks/search.py: this package's engines, and FAISS's binary indexes.

FAISS is called directly, without this package's own classes around it. `recall` is the share of
answers that are as near as the true k-th neighbor, so that ties count for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.index.engines import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxyhash.codes import Codes

OURS = ("scan", "multi_index", "clustered", "auto")
FAISS = ("faiss flat", "faiss hnsw", "faiss ivf")
HNSW_RECALL, IVF_RECALL = 0.99, 0.999


@dataclass
class Contender:
    """Something that searches.

    Attributes:
        name: what the tables call it.
        search: from codes (q, B) to the distances found, (q, k).
        build_seconds: what it took to build.
        memory: its bytes as a multiple of the raw codes'; None where it does not tell.
        note: its setting, or why it was chosen.
        recall: of the answers.
    """

    name: str
    search: Callable[[Codes], np.ndarray]
    build_seconds: float
    memory: float | None
    note: str = ""
    recall: float = 1.0


@dataclass(frozen=True)
class Task:
    """A task for a contender: codes, queries, k, the threads, and whether to do without AVX-512."""

    codes: Codes
    queries: Codes
    k: int
    threads: int
    avx2: bool
    lists: Sequence[int]
    hnsw_up_to: int

    @property
    def bits(self) -> int:
        """The code length."""
        return 8 * self.codes.shape[1]


def contenders(task: Task, names: Sequence[str]) -> Iterator[Contender]:
    """Build one contender after the other; the first must be exact, it tells the others' recall."""
    truth: np.ndarray | None = None
    for name in names:
        if name == "faiss hnsw" and len(task.codes) > task.hnsw_up_to:
            continue
        contender = _ours(task, name) if name in OURS else _FAISS[name](task, truth)
        if contender is None:
            continue
        if truth is None:
            truth = contender.search(task.queries)[:, -1]
        contender.recall = _recall(contender.search(task.queries), truth)
        yield contender


def _ours(task: Task, name: str) -> Contender:
    start = time.perf_counter()
    engine = ENGINES[name].build(task.codes, bits=task.bits)
    seconds = time.perf_counter() - start

    def search(queries: Codes) -> np.ndarray:
        found = engine.search(queries, k=task.k, threads=task.threads)
        return found.distances.reshape(len(queries), task.k)

    plan = getattr(engine, "plan", None)
    note = ""
    if plan is not None:
        batch, single = (plan(queries=n, k=task.k).engine for n in (len(task.queries), 1))
        note = f"batch {batch}, single {single}"
    return Contender(name, search, seconds, engine.nbytes / task.codes.nbytes, note)


def _faiss(task: Task) -> Any:
    import faiss

    faiss.omp_set_num_threads(task.threads)
    if task.avx2:
        faiss.SIMDConfig.set_level(faiss.SIMDLevel_AVX2)
    return faiss


def _flat(task: Task, _: np.ndarray | None) -> Contender:
    index = _faiss(task).IndexBinaryFlat(task.bits)
    start = time.perf_counter()
    index.add(task.codes)
    seconds = time.perf_counter() - start
    return Contender("faiss flat", lambda q: index.search(q, task.k)[0], seconds, 1.0)


def _hnsw(task: Task, truth: np.ndarray | None) -> Contender | None:
    """Return HNSW with the least efSearch that reaches the recall."""
    index = _faiss(task).IndexBinaryHNSW(task.bits, 16)
    index.hnsw.efConstruction = 80
    start = time.perf_counter()
    index.add(task.codes)
    seconds = time.perf_counter() - start
    links = index.hnsw.neighbors.size() * 4 + index.hnsw.offsets.size() * 8
    for effort in (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024):
        index.hnsw.efSearch = effort
        recall = _recall(index.search(task.queries, task.k)[0], truth)
        if recall >= HNSW_RECALL:
            break
    return Contender(
        "faiss hnsw",
        lambda q: index.search(q, task.k)[0],
        seconds,
        1 + links / task.codes.nbytes,
        f"M 16, efSearch {effort}",
    )


def _ivf(task: Task, truth: np.ndarray | None) -> Contender | None:
    """Return IVF with the number of lists and probes that is fastest at the recall."""
    best: tuple[float, Contender] | None = None
    for lists in task.lists:
        if 40 * lists > len(task.codes):
            continue
        faiss = _faiss(task)
        coarse = faiss.IndexBinaryFlat(task.bits)
        index = faiss.IndexBinaryIVF(coarse, task.bits, lists)
        start = time.perf_counter()
        index.train(task.codes[: 40 * lists])
        index.add(task.codes)
        built = time.perf_counter() - start
        probes = _fewest_probes(index, task, truth, lists)
        seconds = min(_timed(index, task) for _ in range(3))
        if best is None or seconds < best[0]:

            def search(queries: Codes, index: Any = index, _coarse: Any = coarse) -> np.ndarray:
                return index.search(queries, task.k)[0]

            memory = 1 + (8 * len(task.codes) + lists * task.codes.shape[1]) / task.codes.nbytes
            note = f"{lists:,} lists, {probes} probes"
            best = (seconds, Contender("faiss ivf", search, built, memory, note))
    return None if best is None else best[1]


def _fewest_probes(index: Any, task: Task, truth: np.ndarray | None, lists: int) -> int:
    probes = 1
    while True:
        index.nprobe = probes
        found = index.search(task.queries, task.k)[0]
        if probes >= lists or _recall(found, truth) >= IVF_RECALL:
            return probes
        probes = min(lists, 2 * probes)


def _timed(index: Any, task: Task) -> float:
    start = time.perf_counter()
    index.search(task.queries, task.k)
    return time.perf_counter() - start


def _recall(distances: np.ndarray, truth: np.ndarray | None) -> float:
    if truth is None:
        raise SystemExit("the first contender must be exact: it tells the recall of the others")
    found = (distances >= 0) & (distances.astype(np.int64) <= truth[:, None])
    return float(found.mean())


_FAISS = {"faiss flat": _flat, "faiss hnsw": _hnsw, "faiss ivf": _ivf}
