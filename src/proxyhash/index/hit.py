"""Results of an index: hits of a search, and stored items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.codes import Codes, Weights

__all__ = ["Hit", "IndexItem", "stacked_weights"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search.

    Attributes:
        id: the item's id.
        distance: Hamming distance of its code to the query's, in bits.
        payload: what was stored beside the code, such as the item's text and labels.
        asymmetric: its asymmetric distance, in bits, where hits are ordered by that.
        vector_distance: that of its stored vector, in bits, where hits are ordered by that.
        fused: the score of its ranks by code and by words, where hits are ordered by that.
        matched: the words, phrases and prefixes of the question that it was found by.
    """

    id: str
    distance: int
    payload: Mapping[str, object] = field(default_factory=dict, hash=False)
    asymmetric: float | None = None
    vector_distance: float | None = None
    fused: float | None = None
    matched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class IndexItem:
    """The item stored under one id.

    Attributes:
        id: the item's id.
        codes: its packed codes, uint8 (ceil(bits/8),), by modality; at least one.
        payload: what was stored beside them.
        weights: how sure of each bit the codes are, uint16 (bits,), by modality; empty where the
            index keeps no vectors.
    """

    id: str
    codes: Mapping[str, Codes]
    payload: Mapping[str, object] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)


def stacked_weights(items: Sequence[IndexItem]) -> dict[str, Weights] | None:
    """Return the weights of items, uint16 (n, bits), by modality; None where some lack them."""
    names = list(items[0].codes)
    if not all(name in item.weights for item in items for name in names):
        return None
    return {name: np.stack([item.weights[name] for item in items]) for name in names}
