"""The scan: its paths through many queries, many rows, large k and few allowed rows, and Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from proxyhash.codes import top_k
from proxyhash.errors import UsageError
from proxyhash.index.engines import ENGINES, register_engine
from proxyhash.index.engines.scan.engine import ScanEngine


@pytest.mark.parametrize("bits", [32, 64, 128, 192])
@pytest.mark.parametrize("queries", [1, 3, 300])
@pytest.mark.parametrize("k", [10, 2000])
def test_many_rows_give_what_sorting_all_gives(bits: int, queries: int, k: int) -> None:
    rng = np.random.default_rng(bits)
    count = 300_000 if queries < 10 else 20_000
    codes = rng.integers(0, 256, (count, bits // 8), dtype=np.uint8)
    query = rng.integers(0, 256, (queries, bits // 8), dtype=np.uint8)
    engine = ScanEngine.build(codes, bits=bits)
    for mask in (None, rng.random(count) < 0.5, rng.random(count) < 0.02):
        for threads in (1, 2):
            found = engine.search(query, k=k, mask=mask, threads=threads)
            expected = top_k(query, codes, k=k, mask=mask)
            width = expected.positions.shape[1]
            np.testing.assert_array_equal(found.offsets, np.arange(queries + 1) * width)
            np.testing.assert_array_equal(found.rows, expected.positions.ravel())
            np.testing.assert_array_equal(found.distances, expected.distances.ravel())


def _galleries() -> dict[str, npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 256, (40_000, 8), dtype=np.uint8)
    misleading = drawn | 15  # the only near rows lie where a sample looks
    misleading[100:160] = 0
    return {
        "drawn": drawn,
        "misleading": misleading,
        "crowded": np.repeat(drawn[:20], 2000, axis=0),
        "sorted": drawn[np.lexsort(drawn.T)],
    }


@pytest.mark.parametrize("kind", ["drawn", "misleading", "crowded", "sorted"])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("most", [2**23, 3000])
def test_many_neighbors_are_exact_whatever_a_sample_of_the_rows_says(
    kind: str, ordered: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    codes = _galleries()[kind]
    query = np.concatenate([np.zeros((1, 8), np.uint8), codes[rng.integers(0, len(codes), 6)]])
    order = rng.permutation(len(codes)).astype(np.uint64) if ordered else None
    ranks = np.arange(len(codes)) if order is None else order
    far = np.unpackbits(query[:, None] ^ codes[None], axis=2).sum(axis=2)
    monkeypatch.setattr("proxyhash.index.engines.scan.engine._MOST_COLLECTED", most)
    engine = ScanEngine.build(codes, bits=64, order=order)
    for k, radius in ((150, None), (600, None), (600, 20)):
        found = engine.search(query, k=k, radius=radius)
        for row, (start, stop) in enumerate(pairwise(found.offsets)):
            expected = np.lexsort((ranks, far[row]))[:k]
            expected = expected[far[row, expected] <= (64 if radius is None else radius)]
            np.testing.assert_array_equal(found.rows[start:stop], expected)
            np.testing.assert_array_equal(found.distances[start:stop], far[row, expected])


@pytest.mark.parametrize("width", [8, 16, 6, 3])
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_many_neighbors_of_codes_of_any_width(width: int, queries: int, masked: bool) -> None:
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 256, (30_011, width), dtype=np.uint8)
    query = rng.integers(0, 256, (queries, width), dtype=np.uint8)
    order = rng.permutation(len(codes)).astype(np.uint64)
    mask = rng.random(len(codes)) < 0.7 if masked else None
    allowed = np.arange(len(codes)) if mask is None else np.flatnonzero(mask)
    engine = ScanEngine.build(codes, bits=8 * width, order=order)
    for threads in (1, 2):
        found = engine.search(query, k=400, mask=mask, threads=threads)
        for row, (start, stop) in enumerate(pairwise(found.offsets)):
            far = np.unpackbits(query[row] ^ codes[allowed], axis=1).sum(axis=1)
            expected = np.lexsort((order[allowed], far))[:400]
            np.testing.assert_array_equal(found.rows[start:stop], allowed[expected])
            np.testing.assert_array_equal(found.distances[start:stop], far[expected])


def test_it_takes_no_memory_beside_the_codes() -> None:
    codes = np.zeros((1000, 8), np.uint8)
    engine = ScanEngine.build(codes, bits=64)
    assert engine.nbytes == codes.nbytes
    codes[5] = 255
    assert engine.search(np.full((1, 8), 255, np.uint8), k=1).rows.tolist() == [5]


def test_the_widest_codes_there_are() -> None:
    codes = np.zeros((20, 8191), np.uint8)
    codes[3:] = 255
    engine = ScanEngine.build(codes, bits=65_528)
    found = engine.search(codes[:1], k=5)
    assert found.rows.tolist() == [0, 1, 2, 3, 4]
    assert found.distances.tolist() == [0, 0, 0, 65_528, 65_528]
    assert engine.search(codes[:1], k=None, radius=40_000).rows.tolist() == [0, 1, 2]


def test_ctrl_c_ends_a_long_batch_within_a_second() -> None:
    script = """
import numpy as np
from proxyhash.index.engines.scan.engine import ScanEngine
rng = np.random.default_rng(0)
codes = rng.integers(0, 256, (2_000_000, 8), dtype=np.uint8)
engine = ScanEngine.build(codes, bits=64)
engine.search(codes[:100], k=5, threads=2)
print("ready", flush=True)
engine.search(np.tile(codes, (10, 1)), k=5, threads=2)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        took = time.monotonic() - started
    assert process.returncode in {-signal.SIGINT, 130}, errors
    assert "KeyboardInterrupt" in errors
    # A second on a machine of one's own; others may be using this one.
    assert took < 5


def test_an_engine_is_registered_once_under_its_name() -> None:
    assert ENGINES["scan"] is ScanEngine
    assert register_engine(ScanEngine) is ScanEngine

    class Other(ScanEngine):
        pass

    with pytest.raises(ValueError, match="another engine is already named 'scan'"):
        register_engine(Other)
    with pytest.raises(UsageError, match=r"engine is 'scam'; it must be .*did you mean 'scan'"):
        ENGINES["scam"]


def test_engines_are_found_in_files_and_in_folders() -> None:
    assert {"scan", "multi_index", "clustered", "auto", "segmented", "faiss_flat"} <= set(ENGINES)


def test_other_packages_add_engines_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = []

    class Entry:
        def load(self) -> None:
            register_engine(Outside)

    class Outside(ScanEngine):
        name = "outside"

    monkeypatch.setattr(
        "proxyhash.registry.entry_points", lambda *, group: groups.append(group) or [Entry()]
    )
    monkeypatch.setattr(ENGINES, "_loaded", False)
    assert ENGINES["outside"] is Outside
    assert groups == ["proxyhash.engines"]
    ENGINES.remove("outside")
