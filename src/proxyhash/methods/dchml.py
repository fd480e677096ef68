"""DCHML: deep cross-modal hashing via the margin-dynamic-softmax loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from proxyhash.losses import cross_modal_softmax, margin_dynamic_softmax
from proxyhash.methods.shared.batch import Batch, sign
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.proxy_objective import ProxyObjective, ProxySettings
from proxyhash.methods.shared.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.objective import Context

__all__ = ["Dchml", "DchmlSettings"]


class DchmlSettings(ProxySettings):
    """Settings of `dchml`."""

    eta: float = Field(default=0.1, ge=0)
    """Weight of the cross-modal term."""
    cross_denominator: Literal["own", "other"] = "own"
    """Whose anchor stands in the denominator of the cross-modal term: "own", our reading of the
    formula, or "other", the other modality's, as in a public port of the method, whose pull to the
    positive proxies never fades."""


@register_method("dchml")
class Dchml(ProxyObjective):
    """Both networks aim at one binary proxy per class; no pairwise similarity is needed.

    For each modality that learns, with logits o = h P^T, the logits o' of the other modality's
    current binary code, the positives Y of the item, n = |Y| and the unified code B:

        a = gamma ((1/n) sum_{c in Y} o_c - sigma K)
        L = logsumexp(a, {gamma o_c : c not in Y}) - a                        "margin"
          + eta (logsumexp(a, {gamma o'_c : c not in Y}) - a)                 "cross"
          + lambda ||B - h||^2                                                "quantization"

    Source: Tu et al., "Deep Cross-modal Hashing via Margin-dynamic-softmax Loss", arXiv
    2011.03451 (2020), details as in the authors' released code, without its slips: the text branch
    reads the codes of the images, and each branch has its own denominator and learning rate.

    The "reference" preset has the released optimizer settings: alternating passes, SGD with weight
    decay 1e-5, batches of 40, a text network with 8,192 hidden units; image rate 1e-3, and a text
    rate of 1e-2 out of the published range of 2e-3 to 3e-2. The paper trains on AlexNet or VGG11
    features with two hidden layers of 4,096.
    """

    settings_type = DchmlSettings
    card = MethodCard(
        idea="one binary proxy per class, no pairwise similarity",
        loss=(
            "softmax of the mean positive logit h·p, with a margin that grows with K, against"
            " all negative ones; also against those of the other modality's code"
        ),
        source="Tu et al., arXiv 2011.03451 (2020)",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "reference": {
            "optimizer": "sgd",
            "learning_rate": 1e-3,
            "learning_rates": {"text": 1e-2},
            "weight_decay": 1e-5,
            "lr_schedule": "constant",
            "batch_size": 40,
            "hidden": [4096, 4096],
            "dropout": 0.0,
            "output_batch_norm": False,
            "networks": {"text": {"hidden": [8192]}},
            "settings": {
                "schedule": "alternating",
                "proxies": "phnet",
                "assignment": "none",
                "gamma": 0.3,
                "lambda_": 0.1,
            },
        }
    }
    settings: DchmlSettings

    def __init__(self, context: Context, settings: DchmlSettings) -> None:
        super().__init__(context, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "margin", "cross" and "quantization"."""
        gamma, sigma = self.gamma, self.sigma
        margin = cross = batch.labels.new_zeros(())
        for modality in batch.learning:
            logits = self.logits(batch.outputs[modality])
            labels = batch.labels_of(modality)
            margin = margin + margin_dynamic_softmax(logits, labels, gamma=gamma, sigma=sigma)
            for other in batch.others(modality):
                codes = sign(batch.latest(other))
                in_both = labels * batch.present[other][:, None]
                cross = cross + cross_modal_softmax(
                    logits,
                    self.logits(codes),
                    in_both,
                    gamma=gamma,
                    sigma=sigma,
                    denominator=self.settings.cross_denominator,
                )
        return {
            "margin": margin,
            "cross": self.settings.eta * cross,
            "quantization": self.quantization(batch),
        }
