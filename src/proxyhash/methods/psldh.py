"""PSLDH: the partial-softmax loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.losses import partial_softmax
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.proxy_objective import ProxyObjective, ProxySettings
from proxyhash.methods.shared.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context

__all__ = ["Psldh", "PsldhSettings"]


class PsldhSettings(ProxySettings):
    """Settings of `psldh`."""


@register_method("psldh")
class Psldh(ProxyObjective):
    """Each positive class of an item competes alone with all its negative ones.

    For each modality that learns, with logits o = h P^T, the positives Y, n = |Y| and the unified
    code B:

        L = (1/n) sum_{c in Y} softplus(logsumexp_{j not in Y}(gamma o_j) - gamma (o_c - sigma K))
          + lambda ||B - h||^2

    Source: Tu et al., partial-softmax loss based deep hashing (PSLDH), by the first author of
    DCHML; formula as in the authors' released code. B is that of DCHML.
    """

    settings_type = PsldhSettings
    card = MethodCard(
        idea="the same proxies, each positive on its own",
        loss="softmax of each positive logit against all negative ones",
        source="Tu et al., WWW 2021",
    )

    def __init__(self, context: Context, settings: PsldhSettings) -> None:
        super().__init__(context, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "partial" and "quantization"."""
        partial = batch.labels.new_zeros(())
        for modality in batch.learning:
            partial = partial + partial_softmax(
                self.logits(batch.outputs[modality]),
                batch.labels_of(modality),
                gamma=self.gamma,
                sigma=self.sigma,
            )
        return {"partial": partial, "quantization": self.quantization(batch)}
