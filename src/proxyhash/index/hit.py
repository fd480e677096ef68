"""Results of an index: hits of a search, and stored items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.codes import Codes

__all__ = ["Hit", "IndexItem"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search.

    Attributes:
        id: the item's id.
        distance: Hamming distance of its code to the query's, in bits.
        payload: what was stored beside the code, such as the item's text and labels.
        asymmetric: its asymmetric distance, in bits, where hits are ordered by that.
        fused: the score of its ranks by code and by words, where hits are ordered by that.
        matched: the words, phrases and prefixes of the question that it was found by.
    """

    id: str
    distance: int
    payload: Mapping[str, object] = field(default_factory=dict, hash=False)
    asymmetric: float | None = None
    fused: float | None = None
    matched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class IndexItem:
    """The item stored under one id.

    Attributes:
        id: the item's id.
        codes: its packed codes, uint8 (ceil(bits/8),), by modality; at least one.
        payload: what was stored beside them.
    """

    id: str
    codes: Mapping[str, Codes]
    payload: Mapping[str, object] = field(default_factory=dict)
