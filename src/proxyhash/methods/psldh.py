"""PSLDH: the partial-softmax loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from proxyhash.losses import partial_softmax
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.presets import END_TO_END, TEXTS_OF_THE_PORT
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

    Source: Tu et al., "Partial-Softmax Loss based Deep Hashing", WWW 2021, by the first author of
    DCHML, for images alone; formula and settings as in the authors' own release (rongchengtu1/
    PSLDH, PSLDH.py). Its B is sign(h) itself; the unified code of both modalities is ours.

    The "reference" preset has the release's settings: gamma .2, sigma .2, lambda .01 and PHNet with
    beta .01; images from pixels, two hidden layers of 4,096 with dropout, plain SGD at .001,
    batches of 80, 150 epochs. The release's rate falls to .3 of it after epoch 100, here after 94.
    Texts, which it does not have, get the network and rate of DCPH's public port; images get new
    hidden layers, see `dchml`. The defaults are those of all proxy methods instead, gamma
    1.2 / sqrt(K), sigma .3, lambda .015 and beta 1, so that `psldh` and `dchml` differ in their
    loss alone.
    """

    settings_type = PsldhSettings
    card = MethodCard(
        idea="the same proxies, each positive on its own",
        loss="softmax of each positive logit against all negative ones",
        source="Tu et al., WWW 2021",
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "reference": {
            **END_TO_END,
            "epochs": 150,
            "batch_size": 80,
            "learning_rate": 1e-3,
            "encoder_rate": 1e-3,
            "learning_rates": {"text": 5e-3},
            "lr_schedule": "step",
            "lr_end": 0.3,
            "networks": {
                "image": {"initial_weights": "kaiming", "center": True},
                "text": {**TEXTS_OF_THE_PORT},
            },
            "settings": {
                "proxies": "phnet",
                "assignment": "none",
                "phnet_beta": 0.01,
                "gamma": 0.2,
                "sigma": 0.2,
                "lambda_": 0.01,
            },
        }
    }

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
