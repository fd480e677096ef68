"""An engine that measures the others on its codes, keeps the best, and says why."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from math import log2, sqrt
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from proxyhash.files import write_json
from proxyhash.index.engines.arguments import CodeRows, check_known
from proxyhash.index.engines.auto.costs import (
    Cost,
    compare,
    draw_queries,
    expected_cost,
    read_costs,
)
from proxyhash.index.engines.base import (
    ENGINES,
    read_header,
    register_engine,
    write_header,
)
from proxyhash.index.engines.cuda.devices import has_gpu
from proxyhash.index.engines.saved import check_saved, read_settings
from proxyhash.index.engines.scan.engine import ScanEngine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines.base import Engine, Matches

__all__ = ["Choice", "PlannedEngine"]

_log = logging.getLogger(__name__)

CANDIDATES = ("clustered", "multi_index")
"""What is measured beside the scan unless candidates are named; their `build` takes `threads`.

`GPU` comes to them on a machine with a GPU."""

GPU = "cuda"

WORTH_IT = 0.8
"""An engine that takes more than this part of the scan's time is not kept for being faster."""

SCAN_BELOW = 4096
"""So few codes are scanned in microseconds."""

_SAMPLED = 4096  # entries of a mask that tell how much of it is allowed
_REMEMBERED = 256  # choices, each of which takes as long as a short search
_CHECKED = 4  # queries that a GPU answers as the scan does before it is trusted
_COPIED = 8  # the scan copies the allowed rows first where fewer than one in so many are


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that a search goes to, and the reason.

    Attributes:
        engine: its name.
        reason: one sentence with the numbers.
        seconds: the expected seconds per query, by engine.
    """

    engine: str
    reason: str
    seconds: dict[str, float]


@register_engine
class PlannedEngine:
    """Exact search by the engine that is expected to be the fastest for the codes and the search.

    Beside the scan it keeps the one engine that was fastest on queries drawn from the codes. Each
    search goes to one of the two, by costs measured when it was built. On a machine with a GPU,
    the engine `cuda` is measured as well, if some of its answers are those of the scan.

    Attributes:
        bits: the code length.
        count: how many rows it holds.
        reason: why the engines that it holds were kept.
        costs: what was measured.
    """

    name: ClassVar[str] = "auto"
    exact: ClassVar[bool] = True
    checks_saved: ClassVar[bool] = True

    def __init__(self, engines: Sequence[Engine], costs: Sequence[Cost], reason: str) -> None:
        self.bits, self.count = engines[0].bits, engines[0].count
        self.reason = reason
        self.costs = tuple(costs)
        self._engines = {engine.name: engine for engine in engines}
        # Of the costs alone, not of the engines: a reference to those would form a circle.
        expected = partial(_expected, tuple(self._engines), self.costs)
        self._expected = lru_cache(maxsize=_REMEMBERED)(expected)

    @property
    def engines(self) -> tuple[str, ...]:
        """Return the names of the engines it holds, the scan first."""
        return tuple(self._engines)

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """Everything its engines hold that may be mapped from a file, but codes and order."""
        return tuple(
            array for engine in self._engines.values() for array in getattr(engine, "arrays", ())
        )

    @property
    def nbytes(self) -> int:
        """Memory of the engines it holds, in bytes; what they share counts for each."""
        return sum(engine.nbytes for engine in self._engines.values())

    @classmethod
    def build(
        cls,
        codes: Codes,
        *,
        bits: int,
        order: npt.NDArray[np.uint64] | None = None,
        candidates: Sequence[str] | None = None,
        scan_below: int = SCAN_BELOW,
        threads: int | None = None,
        **options: Any,
    ) -> Self:
        """Return the engine over codes uint8 (n, ceil(bits/8)); see `Engine.build`.

        Args:
            codes: packed codes.
            bits: the code length.
            order: uint64 (n,), or None for the order of the rows.
            candidates: names of the exact engines to measure beside the scan. Default: those in
                `CANDIDATES`, and `cuda` where there is a GPU.
            scan_below: fewer codes are scanned, and nothing is built or measured.
            threads: how many threads build and measure; default all cores.
            options: none.
        """
        check_known(cls.name, options)
        scan = ScanEngine.build(codes, bits=bits, order=order)
        if scan.count < max(2, scan_below):
            reason = f"scan: there are {scan.count:,} codes, and {scan_below:,} are scanned at once"
            return cls([scan], [], reason)
        others = [
            ENGINES[name].build(codes, bits=bits, order=order, threads=threads)
            for name in (CANDIDATES if candidates is None else candidates)
        ]
        gpu = _gpu_engine(scan, codes, order, threads) if candidates is None else None
        engines: list[Engine] = [scan, *others, *([] if gpu is None else [gpu])]
        costs = compare(engines, draw_queries(codes), threads=threads)
        best = min(engines, key=lambda engine: _merit(costs, engine.name, bits))
        kept = [scan] if best is scan else [scan, best]
        names = {engine.name for engine in kept}
        reason = _explain(costs, best.name, scan.count)
        return cls(kept, [cost for cost in costs if cost.engine in names], reason)

    def search(
        self,
        query: Codes,
        *,
        k: int | None,
        radius: int | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> Matches:
        """Return the nearest rows of each query; see `Engine.search`."""
        share = 1.0
        if mask is not None and mask.size:
            share = float(mask[:: max(1, mask.size // _SAMPLED)].mean())
        seconds = self._expected(_Kind.of(len(query), k, radius, share))
        engine = min(seconds, key=seconds.__getitem__)
        return self._engines[engine].search(query, k=k, radius=radius, mask=mask, threads=threads)

    def plan(
        self, *, queries: int = 1, k: int | None = None, radius: int | None = None, share: float = 1
    ) -> Choice:
        """Return which engine a search goes to, and why.

        Args:
            queries: how many are searched at once.
            k: at most this many rows per query, or None.
            radius: no row farther than this, or None.
            share: of the rows, those that the mask allows.
        """
        seconds = dict(self._expected(_Kind.of(queries, k, radius, share)))
        name = min(seconds, key=seconds.__getitem__)
        if len(seconds) == 1:
            return Choice(name, self.reason, seconds)
        others = ", ".join(
            f"{other} {_readable(cost)}" for other, cost in seconds.items() if other != name
        )
        reason = f"{name}: about {_readable(seconds[name])} a query; {others}"
        return Choice(name, reason, seconds)

    def save(self, folder: Path) -> None:
        """Write what was measured, and each engine into a folder of its name."""
        for name, engine in self._engines.items():
            (folder / name).mkdir()
            engine.save(folder / name)
        plan = {
            "engines": list(self._engines),
            "reason": self.reason,
            "costs": [asdict(cost) for cost in self.costs],
        }
        write_json(folder / "plan.json", plan)
        write_header(folder, engine=self.name, bits=self.bits, count=self.count)

    @classmethod
    def load(
        cls, folder: Path, codes: Codes, *, order: npt.NDArray[np.uint64] | None = None
    ) -> Self:
        """Return the engine over the same codes and order, without measuring again."""
        header = read_header(folder, engine=cls.name, codes=codes)
        CodeRows(codes, bits=header["bits"], order=order)
        names, costs, reason = _read_plan(folder / "plan.json")
        engines = [ENGINES[name].load(folder / name, codes, order=order) for name in names]
        alike = all(engine.bits == header["bits"] for engine in engines)
        check_saved(alike, folder, "its engines are of other code lengths")
        return cls(engines, costs, reason)


def _gpu_engine(
    scan: ScanEngine, codes: Codes, order: npt.NDArray[np.uint64] | None, threads: int | None
) -> Engine | None:
    """Return the engine on GPUs where there is a GPU and it answers as the scan does, else None."""
    if not has_gpu():
        return None
    query = draw_queries(codes)[:_CHECKED]
    try:
        engine = ENGINES[GPU].build(codes, bits=scan.bits, order=order, threads=threads)
        for k in (1, 100):
            found, expected = (one.search(query, k=k, threads=threads) for one in (engine, scan))
            if not (
                np.array_equal(found.offsets, expected.offsets)
                and np.array_equal(found.rows, expected.rows)
                and np.array_equal(found.distances, expected.distances)
            ):
                _log.warning("answers of the GPU differ from those of the scan; it is not used")
                return None
    except Exception as error:  # drivers and compilers fail in every way there is
        _log.warning("search on the GPU fails, so the processor searches: %s", error)
        return None
    return engine


def _read_plan(path: Path) -> tuple[list[str], list[Cost], str]:
    """Return the engines that a saved plan names, their costs, and the reason.

    Raises:
        DataError: the file is damaged, or names an engine that does not check what it loads.
    """
    plan = read_settings(path)
    names, reason = plan.get("engines"), plan.get("reason")
    known = (
        isinstance(names, list)
        and names[:1] == [ScanEngine.name]
        and len(names) <= 2
        and all(isinstance(name, str) and name in _leaves() for name in names[1:])
    )
    check_saved(known, path, f"it plans with the engines {names!r}"[:200])
    told = isinstance(reason, str) and len(reason) < 1000 and reason.isprintable()
    check_saved(told, path, "it gives no reason")
    names = list(map(str, names or ()))
    costs = read_costs(plan.get("costs"), names)
    check_saved(costs is not None, path, "it does not hold the costs of its engines")
    return names, costs or [], str(reason)


def _leaves() -> list[str]:
    """Return the names of the engines that a saved plan may name beside the scan."""
    return [
        name
        for name, engine in ENGINES.items()
        if getattr(engine, "checks_saved", False) and name not in {"scan", "auto", "segmented"}
    ]


class _Kind(NamedTuple):
    """The kind of a search, on which the choice of an engine depends."""

    batch: bool
    k: int | None
    radius: int | None
    share: float

    @classmethod
    def of(cls, queries: int, k: int | None, radius: int | None, share: float) -> _Kind:
        """Return the kind of a search.

        The share is rounded to a power of the square root of 2 (0 where nothing is allowed), so
        that filters of like selectivity are one kind.
        """
        rounded = 2 ** (round(2 * log2(share)) / 2) if share > 0 else 0.0
        return cls(queries > 1, k, radius, rounded)


def _expected(names: Sequence[str], costs: Sequence[Cost], kind: _Kind) -> dict[str, float]:
    """Return the expected seconds per query, by engine."""
    batch, k, radius, share = kind
    impossible = (k is None and radius is None) or (k is not None and k < 1)
    if len(names) == 1 or impossible:  # any engine says what is wrong
        return dict.fromkeys(names, 0.0)
    queries, seconds = 2 if batch else 1, {}
    for name in names:
        own = [cost for cost in costs if cost.engine == name]
        if name == ScanEngine.name:
            seconds[name] = expected_cost(own, queries=queries, k=10, radius=None)
            if _COPIED * share < 1:
                seconds[name] *= _COPIED * share
        elif name == GPU:  # it compares every code, whatever the mask allows
            seconds[name] = expected_cost(own, queries=queries, k=k, radius=radius)
        else:
            seconds[name] = expected_cost(own, queries=queries, k=k, radius=radius, share=share)
    return seconds


def _merit(costs: Sequence[Cost], name: str, bits: int) -> tuple[float, float]:
    """Return the key by which the engine kept beside the scan is the smallest.

    That is the time for 10 neighbors, unless the scan takes no longer; then for near duplicates.
    """
    nearest = _typical(costs, name, k=10)
    scan = _typical(costs, ScanEngine.name, k=10)
    return min(nearest, WORTH_IT * scan), _typical(costs, name, radius=bits // 32)


def _typical(
    costs: Sequence[Cost], name: str, *, k: int | None = None, radius: int | None = None
) -> float:
    """Return an engine's seconds per query: the geometric mean of alone and in a batch."""
    own = [cost for cost in costs if cost.engine == name]
    seconds = [expected_cost(own, queries=queries, k=k, radius=radius) for queries in (1, 2)]
    return sqrt(seconds[0] * seconds[1])


def _explain(costs: Sequence[Cost], best: str, count: int) -> str:
    times = {
        name: _readable(_typical(costs, name, k=10))
        for name in dict.fromkeys(cost.engine for cost in costs)
    }
    told = ", ".join(f"{name} {time}" for name, time in times.items())
    return f"{best}, beside the scan: for 10 neighbors out of {count:,} codes a query took {told}"


def _readable(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
