"""KDPH: a Kent distribution on the sphere as the proxy of each class."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from proxyhash.losses import paired_contrastive, score_hinge
from proxyhash.methods.hyp2 import reference_tau
from proxyhash.methods.shared.learned_proxies import (
    LearnedProxyObjective,
    kaiming_proxies,
    multi_label_pairs,
    uniform_agreement,
)
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context

__all__ = ["Kdph", "KdphSettings"]

_AXES = 2
_LIMIT = 10.0
"""Largest logarithm of a concentration, and its negative the smallest."""


class KdphSettings(Settings):
    """Settings of `kdph`."""

    margin: float = Field(default=1.0, ge=0)
    """By how much scores of positive classes must be ahead; published 1 for MIRFlickr at 64 bits,
    .3 elsewhere."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the irrelevant pairs; published 26 for MIRFlickr at 64 bits and 41 for COCO at 16,
    which leave little else on frozen features."""
    contrast: float = Field(default=0.2, ge=0)
    """Weight of the contrast between the halves of pairs; published .2 and .29."""
    temperature: float = Field(default=0.07, gt=0)
    """Temperature of that contrast; published .07."""
    uniform: float = Field(default=0.01, ge=0)
    """Weight of the uniform codes; published .5 for MIRFlickr at 64 bits, .0001 for COCO at 16."""


@register_method("kdph")
class Kdph(LearnedProxyObjective):
    """Items have a large likelihood under the distributions of their classes, which are ellipses.

    With a learned mean direction m_c, two axes a_c, b_c and concentrations k_c, k'_c, k''_c of each
    class, and u_i = h_i / |h_i|, the score of an item for a class is

        s_ic = k_c m_c . u_i + k'_c (a_c . u_i)^2 - k''_c (b_c . u_i)^2 - (k_c + k'_c + k''_c) / 2

    the logarithm of a Kent density with a bound in place of its normalization. For each modality,

        mean_{i, c in Y_i, d not in Y_i} relu(s_id - s_ic + margin)         "proxies"

    with the contrast of the halves of a pair (InfoNCE) between modalities, the irrelevant pairs of
    HyP² within and across them, and -h_i . b_i with codes b_i that are drawn uniformly and assigned
    to the items, as in DNPH: the terms "contrast", "pairs" and "uniform".

    Source: KDPH, "Absorbing Gradient Conflicts: Modeling Semantic Variance via Kent Distributions
    for Cross-Modal Hashing", 2026, as in the authors' release (Senmo996/KDPH-official-code,
    models/KDPH and configs/KDPH); of the paper, only the figures of its table 1 were read. As
    there, the axes are a learned matrix times the Cayley transform of a skew one, scaled to unit
    length: at right angles at first, and later as they learn. The release's threshold of the pairs
    comes from a table; here it is that of `hyp2`.
    """

    settings_type = KdphSettings
    card = MethodCard(
        idea="each class is a Kent distribution on the sphere, with a direction and two axes",
        loss="max(0, s' - s + m) of the scores of negative and positive classes; InfoNCE",
        source="KDPH, 2026",
        differs="the distributions are parameters",
    )
    settings: KdphSettings

    def __init__(self, context: Context, settings: KdphSettings) -> None:
        super().__init__(context, settings, kaiming_proxies(context))
        generator = torch.Generator().manual_seed(context.seed + 1)
        count = context.classes
        drawn = torch.randn(count * context.bits, _AXES, generator=generator)
        axes = torch.linalg.qr(drawn).Q.view(count, context.bits, _AXES)
        self.axes = nn.Parameter(axes.contiguous())
        self.skew = nn.Parameter(torch.randn(count, _AXES, _AXES, generator=generator))
        self.log_concentrations = nn.Parameter(torch.zeros(count, 1 + _AXES))
        self.tau = reference_tau(context.classes, context.bits)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "proxies", "contrast", "pairs" and, where it counts, "uniform"."""
        proxies = contrast = batch.labels.new_zeros(())
        for modality in batch.learning:
            rows = batch.supervised(modality)
            scores = self.scores(batch.outputs[modality][rows])
            proxies = proxies + score_hinge(scores, batch.labels[rows], margin=self.settings.margin)
        for one, other in combinations(batch.learning, 2):
            both = batch.supervised(one) & batch.supervised(other)
            contrast = contrast + paired_contrastive(
                batch.outputs[one][both],
                batch.outputs[other][both],
                temperature=self.settings.temperature,
            )
        terms = {
            "proxies": proxies,
            "contrast": self.settings.contrast * contrast,
            "pairs": self.settings.alpha * multi_label_pairs(batch, tau=self.tau),
        }
        if self.settings.uniform:
            terms["uniform"] = -self.settings.uniform * uniform_agreement(batch)
        return terms

    def scores(self, outputs: Tensor) -> Tensor:
        """Return s, (b, C)."""
        concentrations = self.log_concentrations.clamp(-_LIMIT, _LIMIT).exp()
        units = functional.normalize(outputs, dim=1)
        along = torch.einsum("bk,cka->bca", units, self._directions()).square()
        signs = along.new_tensor([1.0, -1.0])
        ellipse = (along * (signs * concentrations[:, 1:])).sum(dim=2)
        return concentrations[:, 0] * self.cosines(outputs) + ellipse - concentrations.sum(1) / 2

    def _directions(self) -> Tensor:
        """Return the axes, (C, K, 2): columns of unit length."""
        skew = (self.skew - self.skew.transpose(1, 2)) / 2
        identity = torch.eye(_AXES, dtype=skew.dtype, device=skew.device)
        # (I - A)(I + A)^-1; the two commute.
        turned = torch.linalg.solve(identity + skew, identity - skew)
        return functional.normalize(self.axes @ turned, dim=1)
