"""Bit statistics against numpy on unpacked bits, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from proxyhash.codes import CodeFile, pack
from proxyhash.errors import DataError
from proxyhash.evaluation import bit_statistics, bits, proxy_statistics


def test_against_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "_ROWS", 70)  # several blocks
    rng = np.random.default_rng(0)
    matrix = (rng.random((300, 13)) < rng.random(13)).astype(int)
    matrix[:, 3] = 1
    matrix[:, 5] = matrix[:, 6]
    found = bit_statistics(pack(matrix), bits=13)
    ones = matrix.mean(axis=0)
    assert (found.codes, found.constant_bits) == (300, 1)
    assert found.distinct == len({tuple(row) for row in matrix})
    assert (found.ones_min, found.ones_max) == (pytest.approx(ones.min()), 1.0)
    assert found.ones_mean == pytest.approx(ones.mean())
    assert found.balance == pytest.approx((1 - abs(2 * ones - 1)).mean())
    correlation = abs(np.corrcoef(np.delete(matrix, 3, axis=1).T))[np.triu_indices(12, 1)]
    assert found.correlation_mean == pytest.approx(correlation.mean())
    assert found.correlation_max == pytest.approx(1.0)
    shares = np.unique(matrix, axis=0, return_counts=True)[1] / 300
    assert found.code_entropy == pytest.approx(-(shares * np.log2(shares)).sum())


def test_every_code_once_is_perfect() -> None:
    every = (np.arange(16)[:, None] >> np.arange(4)) & 1
    found = bit_statistics(pack(every), bits=4)
    assert found.to_dict() == {
        "codes": 16,
        "distinct": 16,
        "ones_mean": 0.5,
        "ones_min": 0.5,
        "ones_max": 0.5,
        "balance": 1.0,
        "constant_bits": 0,
        "correlation_mean": 0.0,
        "correlation_max": 0.0,
        "bit_entropy": 1.0,
        "code_entropy": 4.0,
    }


def test_one_code_for_all_says_nothing() -> None:
    found = bit_statistics(pack(np.ones((9, 8))), bits=8)
    assert (found.distinct, found.constant_bits, found.balance) == (1, 8, 0.0)
    assert (found.bit_entropy, found.code_entropy, found.correlation_mean) == (0.0, 0.0, 0.0)


def test_no_codes_are_refused() -> None:
    with pytest.raises(DataError, match="at least one code"):
        bit_statistics(np.zeros((0, 2), np.uint8), bits=16)


def test_proxies() -> None:
    proxies = np.array([[1, 1, 1, 1], [1, 1, 1, -1], [-1, -1, -1, -1]], np.int8)
    found = proxy_statistics(proxies)
    assert found is not None
    assert found.to_dict() == {"count": 3, "minimum_distance": 1, "mean_distance": (1 + 4 + 3) / 3}
    assert proxy_statistics(proxies[:1]) is None


def test_statistics_of_a_code_file_look_at_what_is_there() -> None:
    image = pack([[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]])
    text = pack([[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]])
    codes = CodeFile(
        ("a", "b", "c"),
        {"image": image, "text": text},
        {"image": np.ones(3, bool), "text": np.array([True, False, True])},
        bits=4,
    )
    found = bits.code_statistics(codes, np.array([0, 1, 2]))
    assert found["image"]["codes"] == 3
    assert found["text"]["codes"] == 2
    assert found["pairs"] == {"items": 2, "mean_distance": 2.5}
    assert found["proxies"] is None
    lonely = bits.code_statistics(codes, np.array([1]), proxies=np.eye(4, dtype=np.int8) * 2 - 1)
    assert lonely["text"] is None
    assert lonely["pairs"] == {"items": 0, "mean_distance": None}
    assert lonely["proxies"]["minimum_distance"] == 2
