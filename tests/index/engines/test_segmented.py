"""The engine that grows, against the slow loop, while rows are appended and segments merge."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.errors import DataError, UsageError
from proxyhash.files import write_json
from proxyhash.index.engines import ENGINES
from proxyhash.index.engines.segmented.engine import SegmentedEngine
from tests.index.engines.reference import as_answer, draw_codes, slow_search

if TYPE_CHECKING:
    from pathlib import Path


def empty(bits: int = 64, **options: Any) -> SegmentedEngine:
    codes = np.empty((0, bits // 8), np.uint8)
    options = {"engine": "scan", "tail_rows": 10, **options}
    return SegmentedEngine.build(codes, bits=bits, **options)


@settings(max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("engine", ["scan", "clustered", "multi_index", "auto"])
def test_answers_are_those_of_all_rows_however_they_came(engine: str, data: st.DataObject) -> None:
    draw = data.draw
    sizes = draw(st.lists(st.integers(0, 40), min_size=1, max_size=8), label="sizes")
    rng = np.random.default_rng(draw(st.integers(0, 99), label="seed"))
    codes = draw_codes(sum(sizes), 16, 3, kind=draw(st.sampled_from(["random", "equal"])))
    order = rng.permutation(len(codes)).astype(np.uint64)
    query = draw_codes(3, 16, 3)
    grown = SegmentedEngine.build(
        codes[:0], bits=16, order=order[:0], engine=engine, tail_rows=20, background=True
    )
    count = 0
    for size in sizes:
        count += size
        # Other numbers that compare alike, as after a renumbering.
        grown.extend(codes[:count], order=order[:count] * np.uint64(count + 1))
        mask = rng.random(count) < 0.7
        for search in (
            {"k": 5},
            {"k": 200, "mask": mask},
            {"k": None, "radius": 5, "mask": mask},
            {"k": 3, "radius": 4},
        ):
            expected = slow_search(query, codes[:count], order=order[:count], **search)
            assert as_answer(grown.search(query, **search)) == expected
    grown.wait()


def test_segments_merge_so_that_each_is_larger_than_all_behind_it() -> None:
    codes = draw_codes(1000, 64, 0)
    engine = empty()
    built = 0
    for count in range(10, 1001, 10):
        before = engine.segments
        engine.extend(codes[:count])
        assert sum(engine.segments) == count
        sizes = engine.segments
        assert all(sizes[i] > sum(sizes[i + 1 :]) for i in range(len(sizes) - 1))
        built += sizes[-1] if sizes != before else 0
    assert built <= 1000 * np.log2(1000)
    engine.compact()
    assert engine.segments == (1000,)
    engine.compact()
    assert engine.segments == (1000,)


def test_a_search_under_way_keeps_its_segments_and_rows_come_in_during_a_merge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes, query = draw_codes(60, 64, 0), draw_codes(2, 64, 1)
    engine = empty(background=True)
    kind = ENGINES["scan"]
    build, may_go, started = kind.build, threading.Event(), threading.Event()

    def slow_build(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread().name == "proxyhash-merge":
            started.set()
            assert may_go.wait(30)
        return build(*arguments, **options)

    monkeypatch.setattr(kind, "build", slow_build)
    engine.extend(codes[:20])
    assert started.wait(30)
    for count in (30, 60):
        engine.extend(codes[:count])
        assert engine.segments == ()
        assert as_answer(engine.search(query, k=9)) == slow_search(query, codes[:count], k=9)
    may_go.set()
    engine.wait()
    assert engine.segments == (20,)
    assert as_answer(engine.search(query, k=9)) == slow_search(query, codes, k=9)


def test_a_failed_merge_leaves_everything_searchable(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, query = draw_codes(25, 64, 0), draw_codes(2, 64, 1)
    engine = empty(engine="clustered")

    def no_memory(*_: Any, **__: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(ENGINES["clustered"], "build", no_memory)
        with pytest.raises(MemoryError):
            engine.extend(codes)
    assert as_answer(engine.search(query, k=9)) == slow_search(query, codes, k=9)
    engine.compact()
    assert engine.segments == (25,)


def test_saved_segments_open_with_more_rows_behind_them(tmp_path: Path) -> None:
    codes, query = draw_codes(300, 64, 0), draw_codes(4, 64, 1)
    order = np.random.default_rng(0).permutation(300).astype(np.uint64)
    options = {"engine": "clustered", "tail_rows": 64, "settings": {"centers": 3}}
    engine = SegmentedEngine.build(codes[:100], bits=64, order=order[:100], **options)
    engine.extend(codes[:180], order=order[:180])
    engine.extend(codes[:200], order=order[:200])
    engine.save(tmp_path)
    again = SegmentedEngine.load(tmp_path, codes, order=order)
    assert again.segments == engine.segments == (100, 80)
    assert again.count == 300
    assert as_answer(again.search(query, k=20)) == slow_search(query, codes, k=20, order=order)
    again.extend(codes, order=order)
    assert sum(again.segments) == 300
    assert as_answer(again.search(query, k=20)) == slow_search(query, codes, k=20, order=order)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    codes = draw_codes(30, 64, 0)
    engine = empty()
    engine.extend(codes)
    with pytest.raises(DataError, match=r"20 rows were given and there are 30 already"):
        engine.extend(codes[:20])
    with pytest.raises(UsageError, match="engine is 'tree'; it must be one of"):
        empty(engine="tree")
    engine.save(tmp_path)
    with pytest.raises(DataError, match="is about 30 codes and there are 10"):
        SegmentedEngine.load(tmp_path, codes[:10])
    write_json(tmp_path / "segments.json", {"stops": [30]})
    with pytest.raises(DataError, match=r"segments\.json is damaged: .*; rebuild the engine"):
        SegmentedEngine.load(tmp_path, codes)
    (tmp_path / "engine.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"engine\.json is damaged: it is not an object"):
        SegmentedEngine.load(tmp_path, codes)
