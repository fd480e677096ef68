"""The drawing of a code against its bits."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.codes import pack
from proxyhash.search.page import MAX_STRIP_BITS, bit_strip


def squares(svg: str) -> dict[int, str]:
    """Which class each bit was drawn with, by its place."""
    found = {}
    for name, path in re.findall(r'<path class="([^"]*)" d="([^"]*)"', svg):
        for column, row in re.findall(r"M(\d+) (\d+)h", path):
            found[int(row) * 32 + int(column)] = name
    return found


@given(st.integers(1, MAX_STRIP_BITS), st.integers(0, 2**32 - 1))
def test_each_bit_is_one_square(bits: int, seed: int) -> None:
    own, other = np.random.default_rng(seed).random((2, bits)) < 0.5
    svg = bit_strip(pack(own[None])[0], bits=bits, query=pack(other[None])[0])
    assert squares(svg) == {
        place: ("on" if own[place] else "off") + (" far" if own[place] != other[place] else "")
        for place in range(bits)
    }
    assert f'viewBox="0 0 {min(bits, 32)} {-(-bits // 32)}"' in svg


def test_without_a_query_nothing_differs() -> None:
    assert set(squares(bit_strip(np.array([0b1010_0000], np.uint8), bits=4)).values()) == {
        "on",
        "off",
    }


def test_long_codes_are_not_drawn() -> None:
    assert bit_strip(np.zeros(33, np.uint8), bits=264) == ""
