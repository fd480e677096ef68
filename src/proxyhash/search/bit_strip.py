"""A code drawn as a strip of small squares, the bits that differ from the query's marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.codes import unpack

if TYPE_CHECKING:
    from proxyhash.codes import Codes

__all__ = ["MAX_STRIP_BITS", "bit_strip"]

MAX_STRIP_BITS = 256
"""Longer codes are not drawn: their squares would be too small to tell apart."""

_ROW = 32
_SIDE = 0.84


def bit_strip(code: Codes, *, bits: int, query: Codes | None = None) -> str:
    """Return an inline SVG of one packed code, or "" for codes that are too long to draw.

    The squares are collected into one path a class, which the page colors: `on` and `off` for
    bits that agree with the query's, `on far` and `off far` for those that differ.

    Args:
        code: packed code, uint8 (ceil(bits/8),).
        bits: the code length.
        query: packed code to compare with; default none, so that no bit differs.
    """
    if bits > MAX_STRIP_BITS:
        return ""
    own = unpack(code[None], bits=bits)[0]
    other = own if query is None else unpack(query[None], bits=bits)[0]
    squares: dict[str, list[str]] = {}
    for place, (bit, wanted) in enumerate(zip(own.tolist(), other.tolist(), strict=True)):
        name = ("on" if bit else "off") + ("" if bit == wanted else " far")
        row, column = divmod(place, _ROW)
        squares.setdefault(name, []).append(f"M{column} {row}h{_SIDE}v{_SIDE}h-{_SIDE}z")
    width, height = min(bits, _ROW), -(-bits // _ROW)
    paths = "".join(f'<path class="{name}" d="{"".join(d)}"/>' for name, d in squares.items())
    return (
        f'<svg class="bits" viewBox="0 0 {width} {height}" aria-hidden="true" '
        f'focusable="false">{paths}</svg>'
    )
