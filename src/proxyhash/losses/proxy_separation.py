"""The separation of proxies in PHNet."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from proxyhash.losses.supervision import Scalar

__all__ = ["proxy_separation"]


def proxy_separation(outputs: Float[Tensor, "c k"]) -> Scalar:
    """Return how much the relaxed proxies resemble each other.

        L = (1/C^2) * sum_ij max(0, c_i . c_j - K * [i = j])^2

    Proxies at or beyond a right angle cost nothing. A diagonal term is 0 as well, since
    |c_i|^2 never exceeds K.

    Args:
        outputs: c in (-1, 1), one row per class.

    Source: PHNet of arXiv 2011.03451, as in PSLDH's own release (PSLDH.py).
    """
    count, bits = outputs.shape
    gram = outputs @ outputs.T - bits * torch.eye(count, dtype=outputs.dtype, device=outputs.device)
    return gram.clamp(min=0).square().sum() / max(count, 1) ** 2
