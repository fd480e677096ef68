"""Logits of features, computed so that the bits of an item do not depend on the other items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from jaxtyping import Float32

    from proxyhash.data import Modality
    from proxyhash.networks.base import Network

__all__ = ["block_logits", "sign_logits"]

BLOCK_ROWS = 64
"""Number of items that go through a network together; the last block is padded with zeros.

The rounding of a matrix product depends on its number of rows. In blocks of one size, the logits of
an item do not depend on the other items.
"""

_FEW_ROWS = 16
_SURE = 1e-4
"""Share of an item's largest logit above which rounding cannot change a sign.

Products of different sizes differed by at most 1e-6 of it in measurements.
"""


def block_logits(
    network: Network, features: Float32[np.ndarray, "n d"], *, modality: Modality
) -> Float32[np.ndarray, "n k"]:
    """Return the logits of features, computed in blocks of `BLOCK_ROWS`.

    Args:
        network: turns features into logits.
        features: as the encoder returns them.
        modality: the modality, for messages.

    Raises:
        UsageError: the features do not have the shape (n, width of the network).
    """
    if features.ndim != 2:
        raise UsageError(
            f"{modality} features have the shape {features.shape}; (items, features) is expected"
        )
    if features.shape[1] != network.dim_in:
        raise UsageError(
            f"{modality} features have {features.shape[1]} columns; this model takes "
            f"{network.dim_in}: use the encoder it was trained with"
        )
    logits = np.empty((len(features), network.bits), np.float32)
    for start in range(0, len(features), BLOCK_ROWS):
        rows = features[start : start + BLOCK_ROWS]
        block = np.zeros((BLOCK_ROWS, network.dim_in), np.float32)
        block[: len(rows)] = rows
        logits[start : start + BLOCK_ROWS] = _forward(network, block)[: len(rows)]
    return logits


def sign_logits(
    network: Network, features: Float32[np.ndarray, "n d"], *, modality: Modality
) -> Float32[np.ndarray, "n k"]:
    """Return logits with the signs of `block_logits`, faster for a few items.

    A few items go through without padding. An item with a logit so close to zero that rounding
    might decide its sign is computed again in a block.

    Args:
        network: as in `block_logits`.
        features: as in `block_logits`.
        modality: as in `block_logits`.

    Raises:
        UsageError: as `block_logits`.
    """
    if features.ndim != 2 or len(features) > _FEW_ROWS or features.shape[1] != network.dim_in:
        return block_logits(network, features, modality=modality)
    logits = _forward(network, np.array(features, np.float32))
    sizes = np.abs(logits)
    # The negation makes NaN unsure, too.
    unsure = ~(sizes.min(axis=1, initial=np.inf) > _SURE * sizes.max(axis=1, initial=0.0))
    if unsure.any():
        logits[unsure] = block_logits(network, features[unsure], modality=modality)
    return logits


def _forward(network: Network, rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return network.logits(torch.from_numpy(rows).to(device)).cpu().numpy()
    finally:
        network.train(was_training)
