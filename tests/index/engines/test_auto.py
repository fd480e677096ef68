"""What the planner keeps, what it chooses by which numbers, and what it says."""

from __future__ import annotations

import gc
import weakref
from dataclasses import astuple
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.codes import pack
from proxyhash.errors import DataError, UsageError
from proxyhash.files import write_json
from proxyhash.index.engines.auto.costs import (
    Cost,
    draw_queries,
    expected_cost,
    measure,
    read_costs,
)
from proxyhash.index.engines.auto.engine import PlannedEngine
from proxyhash.index.engines.clustered.engine import ClusteredEngine
from proxyhash.index.engines.cuda.devices import has_gpu
from proxyhash.index.engines.scan.engine import ScanEngine
from tests.index.engines.needs_triton import needs_triton
from tests.index.engines.reference import as_answer, draw_codes, slow_search

if TYPE_CHECKING:
    from pathlib import Path


def costs_of(engine: str, *, by_k: dict[int, float], by_radius: dict[int, float]) -> list[Cost]:
    """Costs of a batch as given, and of single queries three times as high."""
    return [
        Cost(engine, queries, k, radius, seconds * factor)
        for queries, factor in ((1, 3.0), (32, 1.0))
        for k, radius, seconds in [
            *((k, None, seconds) for k, seconds in by_k.items()),
            *((None, radius, seconds) for radius, seconds in by_radius.items()),
        ]
    ]


SCAN = costs_of("scan", by_k={1: 1e-3, 10: 1e-3, 100: 1e-3}, by_radius={0: 1e-3, 16: 1e-3})
CLUSTERED = costs_of("clustered", by_k={1: 1e-5, 10: 1e-5, 100: 1e-4}, by_radius={0: 1e-6, 4: 2e-5})


def planned(count: int = 300) -> PlannedEngine:
    """A planner that believes the costs above."""
    codes = draw_codes(count, 64, 0)
    engines = [kind.build(codes, bits=64) for kind in (ScanEngine, ClusteredEngine)]
    return PlannedEngine(engines, [*SCAN, *CLUSTERED], "given")


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"k": 10}, 1e-5),
        ({"k": 10, "share": 0.1}, 1e-4),  # 100 rows are passed to find 10 that are allowed
        ({"k": 1000}, 1e-3),  # beyond what was measured: in proportion
        ({"radius": 0}, 1e-6),
        ({"radius": 3}, 2e-5),  # the next radius that was measured
        ({"radius": 5}, inf),  # none was
        ({"k": 10, "radius": 0}, 1e-6),
        ({"k": 10, "radius": 5}, 1e-5),
    ],
)
def test_expected_costs(search: dict[str, float], expected: float) -> None:
    search = {"k": None, "radius": None, **search}
    assert expected_cost(CLUSTERED, queries=7, **search) == pytest.approx(expected)
    assert expected_cost(CLUSTERED, queries=1, **search) == pytest.approx(3 * expected)
    assert expected_cost(CLUSTERED, queries=7, k=32, radius=None) == pytest.approx(
        10 ** (-5 + np.log10(3.2))
    )


@pytest.mark.parametrize(
    ("search", "engine"),
    [
        ({"k": 10}, "clustered"),
        ({"queries": 100, "k": 100}, "clustered"),
        ({"k": 2000}, "scan"),
        ({"radius": 4}, "clustered"),
        ({"radius": 5}, "scan"),
        ({"k": 10, "share": 0.5}, "clustered"),
        ({"k": 10, "share": 0.001}, "scan"),  # gathers the few rows and scans them
    ],
)
def test_the_cheapest_engine_is_chosen_and_the_choice_explained(
    search: dict[str, float], engine: str
) -> None:
    choice = planned().plan(**search)
    assert choice.engine == engine == min(choice.seconds, key=choice.seconds.get)
    assert choice.reason.startswith(f"{engine}: about ")
    other = "scan" if engine == "clustered" else "clustered"
    assert f" a query; {other} " in choice.reason


def test_the_numbers_in_the_reason() -> None:
    assert planned().plan(k=10).reason == "clustered: about 30 µs a query; scan 3 ms"


@pytest.mark.parametrize("share", [1.0, 0.5, 0.002])
def test_searches_go_where_the_plan_says(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = planned(1000)
    codes, query = draw_codes(1000, 64, 0), draw_codes(2, 64, 1)
    mask = np.random.default_rng(0).random(1000) < share
    went = []
    for name, part in engine._engines.items():
        search = part.search
        monkeypatch.setattr(
            part, "search", lambda *a, s=search, n=name, **o: went.append(n) or s(*a, **o)
        )
    found = engine.search(query, k=3, mask=mask)
    assert went == [engine.plan(queries=2, k=3, share=share).engine]
    assert as_answer(found) == slow_search(query, codes, k=3, mask=mask)


def test_impossible_searches_are_refused_as_by_any_engine() -> None:
    query = draw_codes(1, 64, 1)
    with pytest.raises(UsageError, match="k is 0"):
        planned().search(query, k=0)
    with pytest.raises(UsageError, match="neither k nor a radius"):
        planned().search(query, k=None)


def test_on_clusters_it_keeps_an_engine_beside_the_scan_and_on_few_codes_it_does_not() -> None:
    rng = np.random.default_rng(0)
    centers = rng.integers(0, 2, (50, 64))
    codes = pack(centers[rng.integers(0, 50, 60_000)] ^ (rng.random((60_000, 64)) < 0.05))
    engine = PlannedEngine.build(codes, bits=64)
    assert engine.engines[0] == "scan"
    assert engine.engines[1] in ("clustered", "multi_index")
    assert engine.reason.startswith(f"{engine.engines[1]}, beside the scan: for 10 neighbors")
    assert engine.nbytes > codes.nbytes
    few = PlannedEngine.build(codes[:100], bits=64)
    assert few.engines == ("scan",)
    assert few.plan(k=3).reason == "scan: there are 100 codes, and 4,096 are scanned at once"
    assert few.search(codes[:1], k=1).distances.tolist() == [0]


def test_measuring_ends_where_an_engine_is_too_slow() -> None:
    engine = ScanEngine.build(draw_codes(2000, 64, 0), bits=64)
    queries = draw_queries(draw_codes(2000, 64, 0))
    assert len(queries) == 256
    assert len(draw_queries(queries[:5])) == 5
    full = measure(engine, queries)
    assert {cost.k for cost in full} == {None, 1, 10, 100, 1000}
    assert {cost.radius for cost in full} == {None, 0, 2, 4, 8, 16}
    assert {cost.batch for cost in full} == {True, False}
    assert {cost.k for cost in measure(engine, queries, give_up=0)} == {None, 1}


def test_opening_measures_nothing_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = planned()
    codes = draw_codes(300, 64, 0)
    engine.save(tmp_path)
    monkeypatch.setattr("proxyhash.index.engines.auto.engine.compare", None)
    again = PlannedEngine.load(tmp_path, codes)
    assert again.costs == engine.costs
    assert (again.reason, again.engines) == ("given", ("scan", "clustered"))
    assert again.plan(k=10) == engine.plan(k=10)
    write_json(tmp_path / "plan.json", {"costs": [{"price": 3}]})
    with pytest.raises(DataError, match=r"plan\.json is damaged: .* rebuild the engine"):
        PlannedEngine.load(tmp_path, codes)


def test_filters_of_like_selectivity_share_what_is_remembered() -> None:
    engine, query = planned(1000), draw_codes(1, 64, 1)
    for allowed in range(490, 520):
        engine.search(query, k=3, mask=np.arange(1000) < allowed)
    assert engine._expected.cache_info()[:2] == (29, 1)
    assert engine.plan(k=3, share=0.49) == engine.plan(k=3, share=0.51)
    for allowed in (0, 1, 2, 5, 1000):
        engine.search(query, k=3, mask=np.arange(1000) < allowed)
    assert engine._expected.cache_info().currsize == 6
    assert engine.plan(k=3, share=0.1) != engine.plan(k=3, share=0.5)


def test_what_is_remembered_is_bounded_and_what_was_used_last_is_kept() -> None:
    engine, query = planned(), draw_codes(1, 64, 1)
    for k in range(1, 400):
        engine.search(query, k=k)
    assert engine._expected.cache_info().currsize == 256
    engine.search(query, k=399)
    assert engine._expected.cache_info()[:2] == (1, 399)


def test_an_engine_is_freed_without_the_garbage_collector() -> None:
    engine = planned()
    engine.search(draw_codes(1, 64, 1), k=3)
    scan = weakref.ref(engine._engines["scan"])
    gc.disable()
    try:
        del engine
        assert scan() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "wrong", [{"queries": "many"}, {"k": "1"}, {"engine": 3}, {"seconds": None}]
)
def test_costs_of_the_wrong_type_are_no_costs(wrong: dict[str, object]) -> None:
    cost = {"engine": "scan", "queries": 1, "k": 1, "radius": None, "seconds": 0.1}
    others = [cost | {"queries": 64}, cost | {"engine": "multi_index"}]
    whole = [*others, cost | {"engine": "multi_index", "queries": 64}]
    assert read_costs([cost, *whole], ["scan", "multi_index"]) is not None
    assert read_costs([cost | wrong, *whole], ["scan", "multi_index"]) is None


@needs_triton
def test_a_gpu_is_measured_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from proxyhash.index.engines.cuda.engine import CudaEngine

    codes = draw_codes(60, 64, 0)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not has_gpu()
    monkeypatch.setattr("proxyhash.index.engines.auto.engine.has_gpu", lambda: True)
    monkeypatch.setattr("proxyhash.index.engines.auto.engine.CANDIDATES", ())
    measured = []

    def compare(engines: Any, queries: Any, *, threads: Any) -> list[Cost]:
        measured.append([engine.name for engine in engines])
        gpu = [Cost("cuda", *cost[1:]) for cost in map(astuple, CLUSTERED)]
        return [*SCAN, *gpu] if len(engines) > 1 else SCAN

    monkeypatch.setattr("proxyhash.index.engines.auto.engine.compare", compare)
    engine = PlannedEngine.build(codes, bits=64, scan_below=0)
    assert measured == [["scan", "cuda"]]
    assert engine.engines == ("scan", "cuda")
    # A filter costs a GPU nothing, where an engine that goes from near to far passes more rows.
    assert engine.plan(k=10, share=0.3).seconds["cuda"] == engine.plan(k=10).seconds["cuda"]
    assert as_answer(engine.search(codes[:2], k=5)) == slow_search(codes[:2], codes, k=5)
    engine.save(tmp_path)
    assert PlannedEngine.load(tmp_path, codes).engines == ("scan", "cuda")

    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DataError, match="is for a machine with a GPU"):
        PlannedEngine.load(tmp_path, codes)
    assert PlannedEngine.build(codes, bits=64, scan_below=0).engines == ("scan",)
    assert "search on the GPU fails, so the processor searches: engine cuda needs" in caplog.text

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    search = CudaEngine.search
    monkeypatch.setattr(
        CudaEngine, "search", lambda self, query, **given: search(self, query[::-1], **given)
    )
    assert PlannedEngine.build(codes, bits=64, scan_below=0).engines == ("scan",)
    assert "answers of the GPU differ from those of the scan; it is not used" in caplog.text
