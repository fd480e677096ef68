"""CSQ: every item has a semantic hash center, and each of its bits is learned on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from proxyhash.losses import bit_cross_entropy, log_cosh_quantization
from proxyhash.methods.shared.batch import Batch, sign
from proxyhash.methods.shared.centers import CenterObjective
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.objective import Context

__all__ = ["Csq", "CsqSettings"]


class CsqSettings(Settings):
    """Settings of `csq`."""

    lambda_: float = Field(default=1e-4, ge=0)
    """Weight of the quantization."""


@register_method("csq")
class Csq(CenterObjective):
    """Each output is pulled to the bitwise majority vote of its classes' centers.

    For each modality that learns, with centers t_c, the positives Y of the item and a random word r
    that breaks ties, drawn once:

        t = sign(sum_{c in Y} t_c), r where the sum is 0
        L = -(1/K) sum_k log((1 + t_k h_k) / 2)                             "center"
          + lambda (1/K) sum_k log cosh(|h_k| - 1)                          "quantization"

    Source: Yuan et al., "Central Similarity Quantization for Efficient Image and Video Retrieval",
    CVPR 2020, for images and videos; here for both modalities, which the common centers join. Ties
    as in CSQ's own release.
    """

    settings_type = CsqSettings
    card = MethodCard(
        idea="a fixed Hadamard center per class",
        loss="cross-entropy of each bit with the majority vote of the item's centers",
        source="Yuan et al., CVPR 2020",
    )
    settings: CsqSettings
    tie_breaker: Tensor

    def __init__(self, context: Context, settings: CsqSettings) -> None:
        super().__init__(context, settings)
        generator = torch.Generator().manual_seed(context.seed)
        draw = torch.randint(2, (context.bits,), generator=generator)
        self.register_buffer("tie_breaker", 2.0 * draw - 1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "center" and "quantization"."""
        center = quantized = batch.labels.new_zeros(())
        for modality in batch.learning:
            rows = batch.supervised(modality)
            outputs = batch.outputs[modality][rows]
            center = center + bit_cross_entropy(outputs, self.semantic_centers(batch.labels[rows]))
            quantized = quantized + log_cosh_quantization(outputs)
        return {"center": center, "quantization": self.settings.lambda_ * quantized}

    def semantic_centers(self, labels: Tensor) -> Tensor:
        """Return the centers of label sets, (n, K) in {-1, +1}, for multi-hot labels (n, C)."""
        votes = labels @ self.center_codes
        return torch.where(votes == 0, self.tie_breaker, sign(votes))
