"""DCGH: learned proxies at equal distances, and pairs as similar as their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from proxyhash.losses import proxy_hinge, proxy_variance, similarity_hinge
from proxyhash.methods.shared.learned_proxies import (
    LearnedProxyObjective,
    kaiming_proxies,
    multi_label_pairs,
)
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context

__all__ = ["Dcgh", "DcghSettings"]


class DcghSettings(Settings):
    """Settings of `dcgh`."""

    far: float = Field(default=0.8, ge=0)
    """Weight of the pairs without a common label; published .8."""
    near: float = Field(default=0.05, ge=0)
    """Weight of the pairs with one; published .05."""
    variance: float = Field(default=1.0, ge=0)
    """Weight of the variance; published 1."""


@register_method("dcgh")
class Dcgh(LearnedProxyObjective):
    """Items lie near all proxies of their classes alike, and pairs as near as their labels say.

    With learned proxies p_c, the positives Y of each item and c_ic = cos(h_i, p_c), for each
    modality that learns:

        L = mean_{i, c in Y_i} (1 - c_ic) + mean_{i, c not in Y_i} relu(c_ic)       "proxies"
        V = mean_i var_c ([c in Y_i] (1 - c_ic))                                   "variance"

    and for image x image, text x text and image x text,

        mean_{i, j with a common label} relu(cos(y_i, y_j) - cos(h_i, g_j))        "near"
        mean_{i, j without one} relu(cos(h_i, g_j))                                "far"

    where the last is over the items with two labels or more.

    Source: DCGH, "Deep Class-guided Hashing for Multi-label Cross-modal Retrieval", as in the
    authors' release (donnotnormal/DCGH, utils/utils.py and train/hash_train.py); the paper's text
    was not read. As there, the variance is over all classes, where negative ones count as 0. The
    release draws proxies from a normal distribution and takes their tanh, and they learn with SGD
    at .02; here they learn as everything else does.
    """

    settings_type = DcghSettings
    card = MethodCard(
        idea="an item is as near to each of its proxies, and pairs are as near as their labels",
        loss=(
            "1 - cos to positive proxies and its variance, max(0, cos) to negative ones; "
            "max(0, cos(y, y') - cos) of pairs"
        ),
        source="DCGH, 2024",
        differs="the proxies are parameters",
    )
    settings: DcghSettings

    def __init__(self, context: Context, settings: DcghSettings) -> None:
        super().__init__(context, settings, kaiming_proxies(context).tanh())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "proxies", "variance", "near" and "far"."""
        proxies = variance = near = batch.labels.new_zeros(())
        for modality in batch.learning:
            rows = batch.supervised(modality)
            cosines = self.cosines(batch.outputs[modality][rows])
            proxies = proxies + proxy_hinge(cosines, batch.labels[rows], tau=0.0)
            variance = variance + proxy_variance(cosines, batch.labels[rows])
        for modality, against in batch.pairs():
            rows, columns = batch.supervised(modality), batch.supervised(against)
            near = near + similarity_hinge(
                batch.outputs[modality][rows],
                batch.outputs[against][columns],
                batch.labels[rows],
                batch.labels[columns],
            )
        return {
            "proxies": proxies,
            "variance": self.settings.variance * variance,
            "near": self.settings.near * near,
            "far": self.settings.far * multi_label_pairs(batch, tau=0.0),
        }
