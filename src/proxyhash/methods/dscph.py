"""DScPH: learned proxies that items are penalized for being inconsistent with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field, model_validator
from torch.nn import functional

from proxyhash.losses import consistency_penalty
from proxyhash.methods.shared.learned_proxies import LearnedProxyObjective, draw_proxies
from proxyhash.methods.shared.objective import Context, MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.batch import Batch

__all__ = ["Dscph", "DscphSettings"]


class DscphSettings(Settings):
    """Settings of `dscph`."""

    tau: float = Field(default=0.0, ge=-1, le=1)
    """Cosine above which a negative proxy is penalized; .9 and .3 in the two releases, which are
    worse on frozen features."""
    psi: float = Field(default=0.0, ge=-1, le=1)
    """Cosine from which that penalty counts, at most tau; .7 and .3 in the releases."""
    near: float = Field(default=1.3, ge=0)
    """How much more distant positive proxies weigh."""
    far: float = Field(default=1.3, ge=0)
    """How much more close negative proxies weigh."""
    smooth: float = Field(default=2.0, gt=0)
    """Added to the consistency of a batch."""
    lambda_: float = Field(default=1.0, ge=0)
    """Weight of the bit variance."""

    @model_validator(mode="after")
    def _penalties_are_not_negative(self) -> DscphSettings:
        if self.psi > self.tau:
            raise ValueError(
                f"setting psi is {self.psi} and tau {self.tau}; a penalty would be negative, "
                "so give psi at most tau"
            )
        return self


@register_method("dscph")
class Dscph(LearnedProxyObjective):
    """A batch is consistent with its labels, as one ratio over all items and classes.

    For each modality that learns, with learned proxies p_c, cosines c_ij = cos(h_i, p_j), and sums
    over the items of a batch and their positive classes, or their negative ones with c_ij > tau,

        T = 2 sum_positive relu(c_ij) + 2
        P = sum_positive [exp(1.3 (1 - c_ij))] (1 - c_ij)
        N = sum_negative [exp(1.3 (c_ij - 1))] (c_ij - psi)
        L = 1 - T / (T + P + N)                                             "proxies"

    where the factors in brackets have no gradient; and with z = h / |h| and its logistic function,

        lambda mean_ik sigmoid(z_ik) (1 - sigmoid(z_ik))                    "variance"

    Source: DScPH, "Deep Semantic-consistent Penalizing Hashing for Cross-modal Retrieval", IEEE TMM
    2025, as in the authors' two releases (QinLab-WFU/CLIP-based-Cross-Modal-Hashing, train/DScPH;
    QinLab-WFU/DScPH, DScPH-main); the paper's text was not read. They differ: tau and psi are .9
    and .7 in the first and .3 and .3 in the second, which also has semi-hard triplets within each
    modality, with automatic margins, that are not here. Not copied either:

    - The variance is that of z turned by a product of Householder reflections, from which no code
      is taken. The first release does not train it, and as it stands it is -1 times the identity,
      which changes nothing. As the squares of z sum to 1, the term is nearly constant.
    - Penalties between psi and tau where psi > tau, which would be rewards.
    - The release's proxies are drawn evenly; here from the normal distribution of that variance.
    """

    settings_type = DscphSettings
    card = MethodCard(
        idea="proxies, and penalties for items that contradict their labels",
        loss="1 - T / (T + P + N): cosines to positive proxies, and penalties of both kinds",
        source="DScPH, TMM 2025",
        differs="the proxies are parameters",
    )
    settings: DscphSettings

    def __init__(self, context: Context, settings: DscphSettings) -> None:
        deviation = math.sqrt(2 / (context.classes + context.bits))  # Glorot and Bengio, 2010
        super().__init__(context, settings, draw_proxies(context) * deviation)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "proxies" and "variance"."""
        penalty = batch.labels.new_zeros(())
        variance = batch.labels.new_zeros(())
        for modality in batch.learning:
            rows = batch.supervised(modality)
            outputs = batch.outputs[modality][rows]
            penalty = penalty + consistency_penalty(
                self.cosines(outputs),
                batch.labels[rows],
                **self.settings.model_dump(exclude={"lambda_"}),
            )
            variance = variance + _bit_variance(outputs)
        return {"proxies": penalty, "variance": self.settings.lambda_ * variance}


def _bit_variance(outputs: Tensor) -> Tensor:
    """Return the mean of p (1 - p) over bits, with p the logistic function of unit vectors."""
    likely = functional.normalize(outputs, dim=1).sigmoid()
    return (likely * (1 - likely)).sum() / max(outputs.numel(), 1)
