"""Evidence of neighbors: how many of the items that resemble one have each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxyhash.encoders import Features

__all__ = ["MAX_LOOKED_AT", "centered", "neighbor_shares", "weighed"]

MAX_LOOKED_AT = 20_000
"""Items that classes and neighbors are looked for in, at most; more are drawn from."""

_BLOCK = 1024


def centered(features: Features, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return features minus their mean over `positions`, of length 1; zero for absent items."""
    kept = positions[features.present[positions]]
    values = features.values - features.values[kept].mean(axis=0) if len(kept) else features.values
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values = np.where(features.present[:, None], values / np.maximum(lengths, 1e-12), 0)
    return np.ascontiguousarray(values, dtype=np.float32)


def neighbor_shares(
    values: NDArray[np.float32],
    present: NDArray[np.bool_],
    held: NDArray[np.float32],
    positions: NDArray[np.int64],
    *,
    neighbors: int,
    track: Track = silent,
    what: str = "items",
) -> NDArray[np.float32]:
    """Return the mean of `held` over each item's nearest neighbors, (n, C); zero for absent items.

    Args:
        values: (n, d) of length 1, compared by their cosine.
        present: which items have any, (n,).
        held: (n, C) in [0, 1].
        positions: the items among which neighbors are looked for; never the item itself.
        neighbors: how many.
        track: reports progress per block of 1,024 items.
        what: is compared, for the progress.
    """
    known = positions[present[positions]]
    shares = np.zeros_like(held)
    count = min(neighbors, len(known) - 1)
    if count < 1:
        return shares
    theirs, labels = values[known].T, held[known]
    rows = np.flatnonzero(present)
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    for block in track(blocks, f"compare {what}", len(blocks)):
        similar = values[block] @ theirs
        similar[block[:, None] == known] = -np.inf
        nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        shares[block] = labels[nearest].mean(axis=1)
    return shares


def weighed(
    evidence: Sequence[tuple[float, NDArray[np.float32], NDArray[np.bool_]]],
) -> NDArray[np.float32]:
    """Return the weighted mean of the evidence that each item has, (n, C); zero without any.

    Args:
        evidence: the weight, the values (n, C), and which items have it (n,), of each kind.
    """
    total = np.zeros_like(evidence[0][1])
    weights = np.zeros((len(total), 1), np.float32)
    for weight, values, present in evidence:
        total += weight * values * present[:, None]
        weights += weight * present[:, None]
    return np.asarray(total / np.maximum(weights, 1e-12), np.float32)
