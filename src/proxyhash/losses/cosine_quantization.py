"""The angle between outputs and their own codes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["cosine_quantization"]


def cosine_quantization(outputs: Float[Tensor, "n k"]) -> Scalar:
    """Return the mean over rows of (cos(h, sign h) - 1)^2; 0, with a graph behind it, without rows.

    Args:
        outputs: h, of any length: only the direction counts.

    Source: Tu et al., "Data-Aware Proxy Hashing for Cross-modal Retrieval", SIGIR 2023, as in the
    authors' own release of DAPH (DAPH_proxy_code.py).
    """
    codes = torch.where(outputs > 0, 1.0, -1.0).to(outputs)
    cosines = functional.cosine_similarity(outputs, codes, dim=1)
    return (cosines - 1).square().sum() / max(len(outputs), 1)
