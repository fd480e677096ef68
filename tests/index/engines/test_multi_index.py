"""Multi-index hashing where it must not fall back to the scan, and what it falls back for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.errors import DataError
from proxyhash.index.engines.multi_index import engine as multi_index
from proxyhash.index.engines.multi_index.engine import MultiIndexEngine
from tests.index.engines.reference import as_answer, draw_codes, slow_search

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.codes import Codes

both_modes = pytest.mark.parametrize("economy", [False, True])


@pytest.fixture
def _never_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it scanned")

    monkeypatch.setattr(multi_index, "_PATIENCE", 1e12)
    monkeypatch.setattr(multi_index, "scan", refuse)


@pytest.mark.usefixtures("_never_giving_up")
@both_modes
@pytest.mark.parametrize("kind", ["random", "equal", "clustered"])
@pytest.mark.parametrize("bits", [8, 12, 31, 64, 96, 128, 256])
def test_buckets_alone_answer_every_search(bits: int, kind: str, economy: bool) -> None:
    rng = np.random.default_rng(bits)
    count = 700 if bits <= 64 else 150
    codes = draw_codes(count, bits, 1, kind=kind)
    query = np.concatenate([codes[:2], draw_codes(1, bits, 2)])
    for order in (None, rng.permutation(count).astype(np.uint64)):
        engine = MultiIndexEngine.build(codes, bits=bits, order=order, economy=economy)
        for search in (
            {"k": 1},
            {"k": 12},
            {"k": 5, "mask": rng.random(count) < 0.3},
            {"k": None, "radius": 0},
            {"k": None, "radius": bits // 3},
            {"k": None, "radius": bits // 2, "mask": rng.random(count) < 0.3},
            {"k": 5, "radius": bits // 3},
        ):
            expected = slow_search(query, codes, order=order, **search)
            assert as_answer(engine.search(query, **search)) == expected, search


@both_modes
def test_near_rows_are_found_without_a_scan_among_many(
    economy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (200_000, 8), dtype=np.uint8)
    query = codes[:40].copy()
    query[:, 3] ^= 5
    engine = MultiIndexEngine.build(codes, bits=64, economy=economy)
    expected = engine_by_scan(codes, query, radius=4)
    monkeypatch.setattr(multi_index, "scan", None)
    assert as_answer(engine.search(query, k=None, radius=4)) == expected
    nearest = as_answer(engine.search(query, k=1))
    assert nearest == [found[:1] for found in expected]


def engine_by_scan(codes: Codes, query: Codes, *, radius: int) -> list[list[tuple[int, int]]]:
    table = np.bitwise_count(query.view(np.uint64) ^ codes.view(np.uint64).T)
    return [
        sorted(((int(row), int(line[row])) for row in np.flatnonzero(line <= radius)), key=by_place)
        for line in table
    ]


def by_place(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[1], pair[0]


def test_more_rows_within_the_radius_than_there_is_room_for_at_first() -> None:
    codes = draw_codes(60_000, 64, 0, kind="clustered")
    codes[100:500] = codes[0]
    query = np.concatenate([codes[:3], ~codes[:1]])
    engine = MultiIndexEngine.build(codes, bits=64)
    expected = engine_by_scan(codes, query, radius=5)
    assert len(expected[0]) > multi_index._FEW_ROWS > len(expected[3])
    assert as_answer(engine.search(query, k=None, radius=5)) == expected


def test_queries_far_from_everything_are_scanned_among_others() -> None:
    codes = draw_codes(100_000, 64, 0, kind="clustered")
    far = draw_codes(6, 64, 5)
    query = np.concatenate([codes[:5], far, codes[5:9]])
    engine = MultiIndexEngine.build(codes, bits=64)
    scanned: list[int] = []
    original = multi_index.scan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            multi_index,
            "scan",
            lambda rows, given: scanned.append(len(given.query)) or original(rows, given),
        )
        found = as_answer(engine.search(query, k=3))
    assert len(scanned) == 1
    assert 6 <= scanned[0] < len(query)
    assert found == [nearest[:3] for nearest in engine_by_scan(codes, query, radius=64)]


@both_modes
def test_memory_stays_within_its_promise(economy: bool) -> None:
    codes = np.zeros((1_000_000, 8), np.uint8)
    engine = MultiIndexEngine.build(codes, bits=64, economy=economy)
    assert engine.nbytes <= (2.5 if economy else 6) * codes.nbytes


def test_more_than_24_bits_of_rows_need_a_longer_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = "proxyhash.index.engines.multi_index.tables._pointer_bytes"
    codes = draw_codes(50_000, 64, 0, kind="clustered")
    expected = as_answer(MultiIndexEngine.build(codes, bits=64).search(codes[:20], k=5))
    monkeypatch.setattr(tables, lambda count: 4)
    longer = MultiIndexEngine.build(codes, bits=64)
    assert as_answer(longer.search(codes[:20], k=5)) == expected


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    codes = draw_codes(1000, 64, 0)
    MultiIndexEngine.build(codes, bits=64).save(tmp_path)
    starts = tmp_path / "starts.npy"
    content = starts.read_bytes()
    starts.write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"starts\.npy has 3,124 bytes, not the 3,224 of"):
        MultiIndexEngine.load(tmp_path, codes)
    np.save(starts, np.zeros((3, 5), np.uint32))
    with pytest.raises(DataError, match="the shapes of its tables do not fit the codes"):
        MultiIndexEngine.load(tmp_path, codes)
    starts.unlink()
    with pytest.raises(DataError, match=r"starts\.npy cannot be read"):
        MultiIndexEngine.load(tmp_path, codes)
