"""DNPH: learned proxies, and outputs that are spread evenly over all codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from proxyhash.losses import cosine_softmax
from proxyhash.methods.shared.learned_proxies import (
    LearnedProxyObjective,
    draw_proxies,
    uniform_agreement,
)
from proxyhash.methods.shared.objective import Context, MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.batch import Batch

__all__ = ["Dnph", "DnphSettings"]


class DnphSettings(Settings):
    """Settings of `dnph`."""

    scale: float = Field(default=2.0, gt=0)
    """Factor of the cosines; published 2, as squared distances of unit vectors are 2 - 2 cos."""
    margin: float = Field(default=0.5, ge=0)
    """Margin of the cosines of positive classes; published .5, 1 of the squared distances."""
    uniform: float = Field(default=0.01, ge=0)
    """Weight of the uniform codes; published .1, which is worse on frozen features at 16 and at 64
    bits."""


@register_method("dnph")
class Dnph(LearnedProxyObjective):
    """Items lie near the proxies of their classes (proxy-NCA), and near codes drawn at random.

    Over the items i of all learning modalities together, with learned proxies p_c and squared
    distances d_ic of unit vectors to which a margin of 1 is added where c is one of the classes Y,
    or in other words with a_ic = 2 (cos(h_i, p_c) - [c in Y_i] / 2),

        L = mean_i -sum_{c in Y_i} log softmax(-d_i)_c
          = mean_i -sum_{c in Y_i} log softmax(a_i)_c                       "proxies"

    and, for each modality, with one code in {-1, +1}^K per item of the batch, drawn uniformly in
    each step and assigned to the items so that the sum of distances |h_i - b_i| is least,

        -lambda mean_i h_i . b_i                                            "uniform"

    Source: Huo et al., "Deep Neighborhood-aware Proxy Hashing with Uniform Distribution Constraint
    for Cross-modal Retrieval", ACM TOMM 2024, as in the authors' releases (QinLab-WFU/OUR-DNPH,
    train/hash_train.py; QinLab-WFU/CLIP-based-Cross-Modal-Hashing, train/DNPH_TOMM/loss.py); the
    paper's text was not read. The release has no file of the assignment; it is that of the hashing
    methods with the same function names. Not copied:

    - The release's optimizer of the proxies is never stepped, so that they stay as drawn.
    - Its cross-entropy of a linear layer on the encoder's features, whose target is the first of an
      item's labels alone. That layer is not in the way from features to codes, so it changes
      encoders that learn and nothing else.
    """

    settings_type = DnphSettings
    card = MethodCard(
        idea="proxy-NCA, and outputs assigned to codes that are drawn uniformly",
        loss="cross-entropy of softmax(2 cos) with a margin; -h·b with each item's assigned code b",
        source="DNPH, TOMM 2024",
        differs="the proxies are parameters",
    )
    settings: DnphSettings

    def __init__(self, context: Context, settings: DnphSettings) -> None:
        super().__init__(context, settings, draw_proxies(context) / 8)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "proxies" and, where it counts, "uniform"."""
        outputs, labels = self.taught(batch)
        near = cosine_softmax(
            self.cosines(outputs),
            labels,
            scale=self.settings.scale,
            margin=self.settings.margin,
            summed=True,
        )
        terms = {"proxies": near}
        if self.settings.uniform:
            terms["uniform"] = -self.settings.uniform * uniform_agreement(batch)
        return terms
