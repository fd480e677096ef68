"""Distances and top-k against a slow loop over unpacked bits."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.codes import Codes, distances, pack, top_k
from proxyhash.errors import DataError, UsageError


def draw_codes(count: int, bits: int, seed: int) -> Codes:
    return pack(np.random.default_rng(seed).integers(0, 2, (count, bits)))


def slow_distances(query: Codes, gallery: Codes) -> np.ndarray:
    result = np.zeros((len(query), len(gallery)), np.uint16)
    for row, first in enumerate(query):
        for column, second in enumerate(gallery):
            result[row, column] = sum(
                int(a ^ b).bit_count() for a, b in zip(first, second, strict=True)
            )
    return result


@pytest.mark.parametrize("bits", [1, 8, 12, 16, 24, 32, 48, 64, 72, 128, 192, 256, 1000])
def test_distances_equal_a_slow_loop_at_every_width(bits: int) -> None:
    query, gallery = draw_codes(3, bits, 0), draw_codes(17, bits, 1)
    found = distances(query, gallery)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, slow_distances(query, gallery))


@settings(deadline=None)
@given(st.integers(1, 130), st.integers(0, 2**32 - 1))
def test_xor_with_a_constant_leaves_distances_unchanged(bits: int, seed: int) -> None:
    codes, constant = draw_codes(7, bits, seed), draw_codes(1, bits, seed + 1)
    np.testing.assert_array_equal(
        distances(codes, codes), distances(codes ^ constant, codes ^ constant)
    )


@settings(deadline=None)
@given(
    bits=st.sampled_from([1, 3, 16, 64, 100, 192]),
    count=st.integers(0, 60),
    k=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    masked=st.booleans(),
)
def test_top_k_equals_a_stable_sort(bits: int, count: int, k: int, seed: int, masked: bool) -> None:
    query, gallery = draw_codes(4, bits, seed), draw_codes(count, bits, seed + 1)
    mask = np.random.default_rng(seed).random(count) < 0.6 if masked else np.ones(count, bool)
    found = top_k(query, gallery, k=k, mask=mask if masked else None)
    allowed = np.flatnonzero(mask)
    table = slow_distances(query, gallery)
    assert found.positions.shape == found.distances.shape == (4, min(k, len(allowed)))
    for row in range(len(query)):
        order = allowed[np.argsort(table[row, allowed], kind="stable")][:k]
        assert found.positions[row].tolist() == order.tolist()
        assert found.distances[row].tolist() == table[row, order].tolist()


def test_opposite_codes_of_full_bytes_are_found() -> None:
    query, gallery = np.zeros((1, 8), np.uint8), np.full((3, 8), 255, np.uint8)
    found = top_k(query, gallery, k=3, mask=np.array([True, False, True]))
    assert found.positions.tolist() == [[0, 2]]
    assert found.distances.tolist() == [[64, 64]]


def test_nothing_allowed_and_no_queries() -> None:
    codes = draw_codes(5, 64, 0)
    assert top_k(codes, codes, k=2, mask=np.zeros(5, bool)).positions.shape == (5, 0)
    assert top_k(codes[:0], codes, k=2).positions.shape == (0, 2)
    assert distances(codes, codes[:0]).shape == (5, 0)


def test_layout_in_memory_does_not_matter() -> None:
    codes = draw_codes(40, 64, 3)
    expected = distances(codes, codes)
    frozen = codes.copy()
    frozen.setflags(write=False)
    buffer = np.zeros(codes.size + 1, np.uint8)
    shifted = buffer[1:].reshape(codes.shape)
    shifted[:] = codes
    for other in (frozen, np.asfortranarray(codes), shifted, np.repeat(codes, 2, axis=0)[::2]):
        np.testing.assert_array_equal(distances(other, codes), expected)


def test_threads_give_the_same_answer() -> None:
    query, gallery = draw_codes(300, 64, 0), draw_codes(500, 64, 1)
    one, many = (top_k(query, gallery, k=9, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.positions, many.positions)
    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(lambda _: top_k(query, gallery, k=9, threads=3), range(8)):
            np.testing.assert_array_equal(one.positions, other.positions)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (
            np.zeros((1, 2), np.uint8),
            np.zeros((1, 4), np.uint8),
            "2 bytes wide and gallery codes 4",
        ),
        (np.zeros((1, 2), np.int8), np.zeros((1, 2), np.uint8), "query codes must be packed uint8"),
        (np.zeros((1, 2), np.uint8), np.zeros(2, np.uint8), "gallery codes must be packed uint8"),
        (np.zeros((1, 0), np.uint8), np.zeros((1, 0), np.uint8), "0 bytes wide"),
    ],
)
def test_codes_that_do_not_fit_are_refused(
    query: np.ndarray, gallery: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        distances(query, gallery)


def test_wrong_k_and_mask_are_refused() -> None:
    codes = draw_codes(4, 16, 0)
    with pytest.raises(UsageError, match="k is 0; it must be at least 1"):
        top_k(codes, codes, k=0)
    for mask in (np.ones(3, bool), np.ones(4, np.int64)):
        with pytest.raises(DataError, match=r"the mask must be bool of shape \(4,\)"):
            top_k(codes, codes, k=1, mask=mask)


@pytest.mark.slow
def test_codes_are_used_without_torch() -> None:
    program = (
        "import sys, numpy as np, proxyhash.codes as c\n"
        "a = c.pack(np.eye(9)); c.top_k(a, a, k=2)\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
