"""OrthoHash: one loss, the cross-entropy of scaled cosines to orthogonal codes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field
from torch.nn import functional

from proxyhash.losses import cosine_softmax
from proxyhash.methods.shared.centers import CenterObjective
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context

__all__ = ["OrthoHash", "OrthoHashSettings"]


class OrthoHashSettings(Settings):
    """Settings of `orthohash`."""

    scale: float | None = Field(default=None, gt=0)
    """Factor of the cosines; published 8. None: sqrt(2) log(C - 1), the fixed scale of
    AdaCos (Zhang et al., CVPR 2019), 4.5 for 25 classes: as good at 64 bits, better at 16."""
    margin: float = Field(default=0.2, ge=0)
    """Margin of the cosines of positive classes."""


@register_method("orthohash")
class OrthoHash(CenterObjective):
    """The cosine to the binary code of each class is its logit; nothing else is asked for.

    For each modality that learns, with codes t_c, the positives Y of the item and n = |Y|:

        a_c = s (cos(h, t_c) - m [c in Y])
        L = -(1/n) sum_{c in Y} log softmax(a)_c                            "cosine"

    Source: Hoe et al., "One Loss for All: Deep Hashing with a Single Cosine Similarity based
    Learning Objective", NeurIPS 2021, for images; here for both modalities, which the common codes
    join. The margin, and the equal shares of several labels, as in OrthoHash's own release. The
    BatchNorm before the sign that the method asks for is the common default here; h is its
    tanh, where the paper has the BatchNorm's values themselves.
    """

    settings_type = OrthoHashSettings
    card = MethodCard(
        idea="fixed orthogonal codes, one loss",
        loss="cross-entropy of scaled cosines with a margin",
        source="Hoe et al., NeurIPS 2021",
    )
    settings: OrthoHashSettings

    def __init__(self, context: Context, settings: OrthoHashSettings) -> None:
        super().__init__(context, settings)
        self.scale = settings.scale or math.sqrt(2) * math.log(max(context.classes - 1, 2))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the term "cosine"."""
        total = batch.labels.new_zeros(())
        for modality in batch.learning:
            rows = batch.supervised(modality)
            cosines = self.cosines(batch.outputs[modality][rows])
            total = total + cosine_softmax(
                cosines, batch.labels[rows], scale=self.scale, margin=self.settings.margin
            )
        return {"cosine": total}

    def cosines(self, outputs: Tensor) -> Tensor:
        """Return cos(h, t_c), (b, C)."""
        return functional.normalize(outputs, dim=1) @ self.center_codes.T / math.sqrt(self.bits)
