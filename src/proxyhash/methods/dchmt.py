"""DCHMT: each bit is a choice of two, and distances say whether two items share a label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from proxyhash.losses import bit_uncertainty, contrastive, share_a_label
from proxyhash.methods.shared.objective import Context, MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch

__all__ = ["Dchmt", "DchmtSettings"]


class DchmtSettings(Settings):
    """Settings of `dchmt`."""

    vartheta: float = Field(default=0.25, gt=0, le=1)
    """Share of the bits in which items without a common label are to differ; published 0.5, which
    is worse on frozen features at 16 and at 64 bits."""
    lambda_: float = Field(default=0.001, ge=0)
    """Weight of the quantization."""


@register_method("dchmt")
class Dchmt(Objective):
    """Distances between soft bit choices are 0 where items share a label, else m or more.

    A bit is the softmax (p, 1 - p) of two logits. With the logits (z, -z), p = (1 + tanh z) / 2, so
    the outputs h = tanh z of the networks here hold the choices: the distance of two items' 2K
    probabilities is d_ij = |h_i - g_j| / sqrt(2), and that of opposite codes is sqrt(2K). For
    image x text, image x image and text x text:

        L = mean_ij S_ij d_ij^2 + (1 - S_ij) relu(m - d_ij)^2      m = sqrt(2 K vartheta)   "pairs"
          + lambda mean_ik (1 - h_ik^2)                                             "quantization"

    with S_ij = 1 where i and j share a label, and the quantization a mean over the modalities.

    Source: Tu et al., "Differentiable Cross-modal Hashing via Multimodal Transformers", ACM MM
    2022, with the Euclidean distance and the quantization's weight of DCHMT's own release.
    The paper learns CLIP's transformers with it; here it works on frozen features, as every method
    does.
    """

    reads_memory = False
    settings_type = DchmtSettings
    card = MethodCard(
        idea="each bit is a two-way softmax; distances say what is similar",
        loss="S d² + (1 - S) max(0, m - d)² within and across modalities",
        source="Tu et al., ACM MM 2022",
    )
    settings: DchmtSettings

    def __init__(self, context: Context, settings: DchmtSettings) -> None:
        super().__init__(context, settings)
        self.margin = math.sqrt(2 * context.bits * settings.vartheta)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "pairs" and "quantization"."""
        pairs = batch.labels.new_zeros(())
        for modality, against in batch.pairs():
            pairs = pairs + self._pairs(batch, modality, against)
        quantized = batch.labels.new_zeros(())
        for modality in batch.learning:
            outputs = batch.outputs[modality][batch.supervised(modality)]
            quantized = quantized + bit_uncertainty(outputs) / 2
        return {"pairs": pairs, "quantization": self.settings.lambda_ * quantized}

    def _pairs(self, batch: Batch, modality: Modality, against: Modality) -> Tensor:
        rows, columns = batch.supervised(modality), batch.supervised(against)
        return contrastive(
            batch.outputs[modality][rows] / math.sqrt(2),
            batch.outputs[against][columns] / math.sqrt(2),
            share_a_label(batch.labels[rows], batch.labels[columns]),
            margin=self.margin,
        )
