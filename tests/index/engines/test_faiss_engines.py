"""FAISS's approximate engines: what they find is right, what they may miss is little."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.errors import DataError, MissingExtraError, UsageError
from proxyhash.index.engines.faiss import (
    FaissFlatEngine,
    FaissHnswEngine,
    FaissIvfEngine,
)
from tests.index.engines.reference import as_answer, draw_codes, slow_search

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.index.engines.faiss import FaissEngine

approximate = pytest.mark.parametrize("kind", [FaissHnswEngine, FaissIvfEngine])


@approximate
@pytest.mark.parametrize(
    "search",
    [{"k": 10}, {"k": None, "radius": 12}, {"k": 5, "radius": 9}, {"k": 10, "masked": True}],
)
def test_nearly_all_is_found_and_nothing_wrong(
    kind: type[FaissEngine], search: dict[str, Any]
) -> None:
    codes, query = draw_codes(3000, 64, 0, kind="clustered"), draw_codes(30, 64, 0)
    query[:20] = codes[:20]
    search = dict(search)
    mask = np.random.default_rng(0).random(3000) < 0.3 if search.pop("masked", False) else None
    engine = kind.build(codes, bits=64)
    found = as_answer(engine.search(query, mask=mask, **search))
    expected = slow_search(query, codes, mask=mask, **search)
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, expected, strict=True))
    assert hits > 0.8 * sum(map(len, expected))
    distances = np.bitwise_count(query.view(np.uint64) ^ codes.view(np.uint64).T)
    for row, answer in enumerate(found):
        assert answer == sorted(answer, key=lambda pair: (pair[1], pair[0]))
        assert all(distances[row, place] == distance for place, distance in answer)
        assert mask is None or all(mask[place] for place, _ in answer)
        assert len(answer) <= (search["k"] or 3000)
        assert all(distance <= search.get("radius", 64) for _, distance in answer)


@approximate
def test_every_list_or_a_wide_search_misses_nothing(kind: type[FaissEngine]) -> None:
    codes, query = draw_codes(500, 32, 0), draw_codes(5, 32, 1)
    options = {"probes": 10_000} if kind is FaissIvfEngine else {"effort": 2000}
    engine = kind.build(codes, bits=32, **options)
    # Among equal distances FAISS cuts anywhere, so only those within the radius are one set.
    expected = slow_search(query, codes, k=None, radius=10)
    assert as_answer(engine.search(query, k=None, radius=10)) == expected


@approximate
@pytest.mark.parametrize("count", [0, 1, 30])
def test_hardly_any_rows(kind: type[FaissEngine], count: int) -> None:
    codes, query = draw_codes(count, 16, 0), draw_codes(3, 16, 1)
    found = kind.build(codes, bits=16).search(query, k=50)
    assert as_answer(found) == slow_search(query, codes, k=50)


@pytest.mark.parametrize("kind", [FaissFlatEngine, FaissHnswEngine, FaissIvfEngine])
def test_saved_and_loaded(kind: type[FaissEngine], tmp_path: Path) -> None:
    codes, query = draw_codes(500, 64, 0), draw_codes(5, 64, 1)
    engine = kind.build(codes, bits=64)
    engine.save(tmp_path)
    for trusted in (False, True):
        again = kind.load(tmp_path, codes, trusted=trusted)
        assert as_answer(again.search(query, k=7)) == as_answer(engine.search(query, k=7))
        assert again.nbytes == engine.nbytes >= 2 * codes.nbytes
    other = tmp_path / "other"
    other.mkdir()
    kind.build(codes[:400], bits=64).save(other)
    (other / "index.faiss").replace(tmp_path / "index.faiss")
    with pytest.raises(DataError, match="built for other codes"):
        kind.load(tmp_path, codes, trusted=True)
    (tmp_path / "index.faiss").write_bytes(b"not an index")
    with pytest.raises(DataError, match=r"index\.faiss cannot be read; rebuild the engine"):
        kind.load(tmp_path, codes, trusted=True)
    again = kind.load(tmp_path, codes)  # FAISS's own reader is not asked
    assert as_answer(again.search(query, k=7)) == as_answer(engine.search(query, k=7))


def test_options_are_kept_and_checked_when_loaded(tmp_path: Path) -> None:
    codes = draw_codes(500, 64, 0)
    FaissIvfEngine.build(codes, bits=64, lists=3, probes=2).save(tmp_path)
    engine = FaissIvfEngine.load(tmp_path, codes)
    assert (engine._index.nlist, engine._index.nprobe) == (3, 2)
    header = tmp_path / "engine.json"
    header.write_text(header.read_text().replace('"probes": 2', '"probes": 999999999'))
    with pytest.raises(DataError, match=r"its options are .*999999999"):
        FaissIvfEngine.load(tmp_path, codes)


def test_options_are_checked() -> None:
    codes = draw_codes(10, 16, 0)
    with pytest.raises(UsageError, match="probes is 0; it must be an integer of at least 1"):
        FaissIvfEngine.build(codes, bits=16, probes=0)
    with pytest.raises(UsageError, match="engine faiss_hnsw has no option 'probes'"):
        FaissHnswEngine.build(codes, bits=16, probes=3)


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'proxyhash\[faiss\]'"):
        FaissFlatEngine.build(draw_codes(10, 16, 0), bits=16)
