"""HyP² and DSPH: learned proxies, and hinges between items without a common label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from proxyhash.losses import proxy_hinge
from proxyhash.methods.shared.learned_proxies import (
    LearnedProxyObjective,
    kaiming_proxies,
    multi_label_pairs,
)
from proxyhash.methods.shared.objective import Context, MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.proxies.known_codes import griesmer_bound

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.batch import Batch

__all__ = ["Hyp2", "Hyp2Settings", "reference_tau"]


class Hyp2Settings(Settings):
    """Settings of `hyp2`."""

    beta: float = Field(default=0.8, ge=0)
    """Weight of the irrelevant pairs; 0.8 in DSPH, 0.5 in HyP²."""
    tau: float | None = Field(default=None, ge=-1, le=1)
    """Cosine up to which negatives cost nothing. None: `reference_tau` of K and C."""


def reference_tau(classes: int, bits: int) -> float:
    """Return 1 - 2 d / K, the cosine of the closest pair in a code of C words at distance d.

    HyP²'s own release reads its threshold from a table by K and ceil(log2 C). Here d is the
    Griesmer bound on the minimum distance of a linear code with that many words.
    """
    dimension = max(1, (classes - 1).bit_length())
    return 1 - 2 * griesmer_bound(bits, dimension) / bits


@register_method("hyp2")
class Hyp2(LearnedProxyObjective):
    """Items lie near the real-valued proxies of their classes, which are learned with them.

    For each modality that learns, with proxies p_c and the positives Y of each item i:

        L = mean_{i, c in Y_i} (1 - cos(h_i, p_c))
          + mean_{i, c not in Y_i} relu(cos(h_i, p_c) - tau)                "proxies"

    and for image x image, text x text and image x text, over the items with two labels or more:

        beta mean_{i, j without a common label} relu(cos(h_i, g_j) - tau)   "pairs"

    Source: Xu et al., "HyP² Loss: Beyond Hypersphere Metric Space for Multi-label Image Retrieval",
    ACM MM 2022, for images. The text branch and the pairs across modalities are those of DSPH: Huo
    et al., "Deep Semantic-aware Proxy Hashing for Multi-label Cross-modal Retrieval", IEEE TCSVT
    (2023), as in DSPH's own release, which has no further term.
    """

    settings_type = Hyp2Settings
    card = MethodCard(
        idea="real-valued proxies learned along the way (with the cross-modal terms of DSPH)",
        loss=(
            "1 - cos to positive proxies, max(0, cos - τ) to negative ones and between items "
            "without a common label"
        ),
        source="Xu et al., ACM MM 2022; Huo et al., IEEE TCSVT 2023",
        differs="the proxies are parameters",
    )
    settings: Hyp2Settings

    def __init__(self, context: Context, settings: Hyp2Settings) -> None:
        super().__init__(context, settings, kaiming_proxies(context))
        tau = settings.tau
        self.tau = reference_tau(context.classes, context.bits) if tau is None else tau

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "proxies" and "pairs"."""
        near = batch.labels.new_zeros(())
        for modality in batch.learning:
            rows = batch.supervised(modality)
            cosines = self.cosines(batch.outputs[modality][rows])
            near = near + proxy_hinge(cosines, batch.labels[rows], tau=self.tau)
        pairs = multi_label_pairs(batch, tau=self.tau)
        return {"proxies": near, "pairs": self.settings.beta * pairs}
