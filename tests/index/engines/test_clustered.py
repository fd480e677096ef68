"""What the clustered engine does beyond the contract: its lists, its work, its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.codes import distances, pack, unpack
from proxyhash.errors import DataError
from proxyhash.index.engines.clustered.centers import as_long_words, assign, choose_centers
from proxyhash.index.engines.clustered.engine import ClusteredEngine
from tests.index.engines.reference import as_answer, draw_codes, slow_search

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.codes import Codes


def around_centers(count: int, bits: int, *, seed: int = 0) -> tuple[Codes, np.ndarray]:
    """Codes around 20 random centers, each bit flipped with p = 0.05, and those centers."""
    rng = np.random.default_rng(seed)
    centers = rng.integers(0, 2, (20, bits))
    flips = rng.random((count, bits)) < 0.05
    return pack(centers[rng.integers(0, 20, count)] ^ flips), centers


def as_codes(words: np.ndarray, bits: int) -> Codes:
    return np.ascontiguousarray(words.view(np.uint8)[:, : -(-bits // 8)])


@pytest.mark.parametrize("bits", [64, 128, 200])
def test_centers_are_found_where_codes_lie_around_them(bits: int) -> None:
    codes, truth = around_centers(3000, bits)
    found = as_codes(choose_centers(codes, count=40), bits)
    assert (distances(pack(truth), found).min(axis=1) <= 1).all()


def test_a_code_is_assigned_to_its_nearest_center() -> None:
    for bits in (24, 64, 200):
        codes, centers = draw_codes(1500, bits, 0), draw_codes(30, bits, 1)
        lists, gaps = assign(as_long_words(codes), as_long_words(centers))
        expected = distances(codes, centers)
        assert (gaps == expected.min(axis=1)).all()
        assert (lists == expected.argmin(axis=1)).all()


def test_repeated_codes_get_few_centers() -> None:
    assert len(choose_centers(draw_codes(500, 64, 0, kind="equal"), count=22)) == 5


def test_lists_hold_every_row_once_by_growing_distance() -> None:
    codes, _ = around_centers(2000, 40)
    lists = ClusteredEngine.build(codes, bits=40, centers=25).lists
    assert sorted(lists.rows.tolist()) == list(range(2000))
    stored = as_codes(lists.words, 40)
    for number, table in enumerate(lists.table.tolist()):
        center = as_codes(lists.centers[number : number + 1], 40)
        gaps = distances(center, stored[table[0] : table[-1]])[0]
        assert table == [table[0] + int((gaps < x).sum()) for x in range(41)] + [table[-1]]
        assert gaps.size == 0 or (gaps[0], gaps[-1]) == tuple(lists.spans[:, number])


def test_equal_codes_are_stored_once_with_their_rows_by_order() -> None:
    codes = draw_codes(1000, 64, 0, kind="equal")
    order = np.random.default_rng(0).permutation(1000).astype(np.uint64)
    lists = ClusteredEngine.build(codes, bits=64, order=order).lists
    assert len(lists.words) == 5
    for code in range(5):
        rows = lists.rows[lists.starts[code] : lists.starts[code + 1]]
        assert (np.diff(order[rows].astype(np.int64)) > 0).all()
        assert (codes[rows] == as_codes(lists.words[code : code + 1], 64)).all()


def test_on_clusters_it_compares_few_codes_and_on_random_ones_nearly_all() -> None:
    codes, _ = around_centers(20_000, 64)
    work = ClusteredEngine.build(codes, bits=64).work(codes[:50], k=10)
    assert work.max() < 3000  # about a thousand share the query's center, and 200 are centers
    spread = draw_codes(20_000, 64, 0)
    engine = ClusteredEngine.build(spread, bits=64)
    assert engine.work(draw_codes(50, 64, 1), k=10).min() > 10_000
    assert engine.work(spread[:50], k=None, radius=0).max() < 5000


def test_thousands_of_ties_at_the_limit_are_put_in_order() -> None:
    codes = pack(np.eye(2000, 2000, dtype=bool)[:, :64])  # 64 at distance 1 of zero, 1,936 zeros
    codes = np.concatenate([codes, pack(np.eye(64, dtype=bool)[np.arange(4000) % 64])])
    order = np.random.default_rng(0).permutation(len(codes)).astype(np.uint64)
    engine = ClusteredEngine.build(codes, bits=64, order=order, centers=3)
    query = np.zeros((1, 8), np.uint8)
    mask = np.random.default_rng(1).random(len(codes)) < 0.9
    for k in (1, 5, 1940, 2500):
        for allowed in (None, mask):
            expected = slow_search(query, codes, k=k, order=order, mask=allowed)
            assert as_answer(engine.search(query, k=k, mask=allowed)) == expected


def test_ties_of_codes_that_are_all_different() -> None:
    pairs = np.array([(a, b) for a in range(64) for b in range(a)])
    bits = np.zeros((len(pairs), 64), bool)
    bits[np.arange(len(pairs))[:, None], pairs] = True  # all at distance 2 of zero
    order = np.random.default_rng(0).permutation(len(pairs)).astype(np.uint64)
    engine = ClusteredEngine.build(pack(bits), bits=64, order=order, centers=2)
    found = engine.search(np.zeros((1, 8), np.uint8), k=9)
    assert found.rows.tolist() == np.argsort(order)[:9].tolist()
    assert unpack(pack(bits), bits=64).sum(axis=1)[found.rows].tolist() == [2] * 9


@pytest.mark.parametrize("bits", [64, 128, 200])
@pytest.mark.parametrize("cached", [True, False])
def test_codes_that_repeat_but_are_not_grouped(
    bits: int, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "proxyhash.index.engines.clustered.engine._CACHE_BYTES", 2**24 if cached else 0
    )
    codes, _ = around_centers(1200, bits)
    codes = np.concatenate([codes, np.repeat(codes[:6], 45, axis=0)])
    codes = codes[np.random.default_rng(2).permutation(len(codes))]
    order = np.random.default_rng(0).permutation(len(codes)).astype(np.uint64)
    mask = np.random.default_rng(1).random(len(codes)) < 0.5
    engine = ClusteredEngine.build(codes, bits=bits, order=order, centers=30)
    assert not engine.lists.starts.size
    query = np.concatenate([codes[:40], draw_codes(4, bits, 3)])
    for search in ({"k": 1}, {"k": 7}, {"k": 46}, {"k": 60, "radius": 3}, {"k": None, "radius": 4}):
        for allowed in (None, mask):
            expected = slow_search(query, codes, order=order, mask=allowed, **search)
            assert as_answer(engine.search(query, mask=allowed, **search)) == expected


@pytest.mark.parametrize("search", [{"k": 255}, {"k": 300}, {"k": None}])
def test_more_rows_of_one_code_than_are_compared_at_once(
    search: dict[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyhash.index.engines.clustered.engine._CACHE_BYTES", 0)
    codes = draw_codes(4000, 64, 0)
    codes[100:900] = codes[7]
    order = np.random.default_rng(0).permutation(4000).astype(np.uint64)
    engine = ClusteredEngine.build(codes, bits=64, order=order, centers=90)
    assert not engine.lists.starts.size
    query = codes[[7, 3, 950, 951, 952, 953, 954, 955, 956, 957]]
    expected = slow_search(query, codes, order=order, radius=25, **search)
    assert as_answer(engine.search(query, radius=25, **search)) == expected


def test_the_widest_codes_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxyhash.index.engines.clustered.engine._CACHE_BYTES", 0)
    bits = 65_528
    codes = np.zeros((20, bits // 8), np.uint8)
    codes[3:] = 255
    engine = ClusteredEngine.build(codes, bits=bits)
    query = np.repeat(codes[:1], 9, axis=0)
    for radius, count in ((40_000, 3), (bits, 20)):
        found = engine.search(query, k=None, radius=radius)
        assert np.diff(found.offsets).tolist() == [count] * 9
    assert engine.search(query, k=4).distances.reshape(9, 4)[:, 3].tolist() == [bits] * 9


def test_memory_is_at_most_1_6_times_the_codes() -> None:
    for kind in ("random", "equal"):
        codes = draw_codes(100_000, 64, 0, kind=kind)
        assert ClusteredEngine.build(codes, bits=64, centers=100).nbytes <= 1.6 * codes.nbytes


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    codes, _ = around_centers(300, 64)
    ClusteredEngine.build(codes, bits=64).save(tmp_path)
    words = tmp_path / "words.npy"
    content = words.read_bytes()
    words.write_bytes(content[:-8])
    with pytest.raises(DataError, match=r"words\.npy has 2,520 bytes, not the 2,528 of"):
        ClusteredEngine.load(tmp_path, codes)
    words.unlink()
    with pytest.raises(DataError, match=r"words\.npy cannot be read"):
        ClusteredEngine.load(tmp_path, codes)
    np.save(words, np.zeros((3, 1), np.uint64))
    with pytest.raises(DataError, match="the shapes of its lists do not fit the codes; rebuild"):
        ClusteredEngine.load(tmp_path, codes)


@pytest.mark.parametrize("kind", ["random", "equal", "clustered"])
@pytest.mark.parametrize("search", [{"k": 3}, {"k": 40}, {"k": 5, "radius": 9}, {"k": None}])
def test_many_queries_at_once(
    kind: str, search: dict[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyhash.index.engines.clustered.engine._CACHE_BYTES", 0)
    codes, query = draw_codes(900, 32, 0, kind=kind), draw_codes(60, 32, 1, kind=kind)
    order = np.random.default_rng(0).permutation(900).astype(np.uint64)
    some = np.random.default_rng(1).random(900) < 0.8
    search = {"radius": 12, **search}
    engine = ClusteredEngine.build(codes, bits=32, order=order, centers=150)
    for mask in (some, None):
        expected = slow_search(query, codes, order=order, mask=mask, **search)
        for threads in (1, 2):
            assert as_answer(engine.search(query, mask=mask, threads=threads, **search)) == expected
    alone = [engine.work(query[i : i + 1], **search)[0] for i in range(60)]
    assert 0 < engine.work(query, **search).mean() < 2 * np.mean(alone)
