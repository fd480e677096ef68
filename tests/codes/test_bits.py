"""Bit conventions: packing is big-endian, padded with zeros, and loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proxyhash.codes import binarize, check_codes, code_bytes, pack, signs, unpack
from proxyhash.errors import DataError, UsageError

bit_matrices = st.tuples(st.integers(0, 6), st.integers(1, 70)).flatmap(
    lambda shape: arrays(np.bool_, shape)
)


def test_bit_zero_is_the_highest_bit_of_byte_zero() -> None:
    bits = np.zeros((2, 12), np.uint8)
    bits[0, 0] = bits[0, 9] = bits[1, 7] = 1
    assert pack(bits).tolist() == [[0b1000_0000, 0b0100_0000], [0b0000_0001, 0]]


@given(bit_matrices)
def test_unpack_undoes_pack(bits: np.ndarray) -> None:
    codes = pack(bits)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(bits), code_bytes(bits.shape[1]))
    check_codes(codes, bits=bits.shape[1])
    np.testing.assert_array_equal(unpack(codes, bits=bits.shape[1]), bits)


@given(bit_matrices)
def test_signs_and_logits_agree(bits: np.ndarray) -> None:
    codes = pack(bits)
    values = signs(codes, bits=bits.shape[1])
    np.testing.assert_array_equal(values, np.where(bits, 1, -1))
    np.testing.assert_array_equal(binarize(values * 0.3), codes)


def test_bit_one_means_logit_above_zero() -> None:
    logits = np.array([[0.0, -0.0, 1e-30, -1e-30, np.inf, -np.inf, 2, -2]], np.float32)
    assert unpack(binarize(logits), bits=8)[0].tolist() == [0, 0, 1, 0, 1, 0, 1, 0]


def test_nan_is_refused_with_its_row() -> None:
    logits = np.ones((4, 3))
    logits[2, 1] = np.nan
    with pytest.raises(DataError, match="row 2 of the logits holds NaN"):
        binarize(logits)


@pytest.mark.parametrize(("bits", "expected"), [(1, 1), (8, 1), (9, 2), (64, 8), (65, 9)])
def test_code_bytes(bits: int, expected: int) -> None:
    assert code_bytes(bits) == expected


@pytest.mark.parametrize("bits", [0, -8, 70_000])
def test_impossible_lengths_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=f"bits is {bits}; a code has between 1 and"):
        code_bytes(bits)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 1]], "must be packed uint8 codes, found list"),
        (np.zeros((2, 2), np.int64), "must be packed uint8 codes, found int64"),
        (np.zeros(2, np.uint8), r"must have shape \(n, K\), found shape \(2,\)"),
        (np.zeros((2, 3), np.uint8), "3 bytes wide, but codes of 12 bits take 2"),
        (np.array([[255, 0b0000_1000]], np.uint8), "bits set after bit 12"),
    ],
)
def test_what_is_not_a_code_is_refused(codes: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_codes(codes, bits=12)


def test_pack_refuses_what_is_not_a_bit() -> None:
    with pytest.raises(DataError, match="must be 0 or 1; use binarize"):
        pack(np.array([[0, 2]]))
    with pytest.raises(DataError, match="shape"):
        pack(np.zeros(3))
