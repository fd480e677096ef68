"""Base of the proxy-based methods: proxies from their settings, and logits against them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor

from proxyhash.losses import certain, quantization
from proxyhash.methods.shared.schedule import ScheduledObjective, ScheduleSettings
from proxyhash.proxies.make_proxies import make_proxies
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context

__all__ = ["ProxyObjective", "ProxySettings"]


class ProxySettings(ScheduleSettings):
    """Settings of methods that aim at fixed proxies."""

    proxies: Literal["affinity", "codebook", "phnet"] = "affinity"
    """"phnet": learned by PHNet, as in DCHML. "codebook": a code with a large minimum distance.
    "affinity": distances follow how often classes occur together; better at 16 bits, and at 64
    where items have several labels of equal standing."""
    assignment: Literal["none", "cooccurrence"] = "cooccurrence"
    """Assignment of proxies to classes: "none" keeps the order of the proxies, "cooccurrence" gives
    near ones to classes that co-occur. "affinity" proxies ignore it."""
    phnet_hidden: int = Field(default=512, ge=1)
    """Width of the hidden layer of "phnet"; 512 in PSLDH's release, 4,096 in DCPH's port."""
    phnet_beta: float = Field(default=1.0, ge=0)
    """Weight of the quantization in "phnet" proxies; 1 in DCPH's port, 0.01 in PSLDH's release."""
    gamma: float | None = Field(default=None, gt=0)
    """Sharpness of the softmax; 0.3 in DCPH's port, 0.2 in PSLDH's release. None: 1.2 / sqrt(K),
    which is 0.3 at 16 bits and follows how the spread of unrelated logits grows with the code."""
    sigma: float = Field(default=0.3, ge=0)
    """Margin as a share of the code length K; 0.3 in DCPH's port, 0.2 in PSLDH's release."""
    lambda_: float = Field(default=0.015, ge=0)
    """Weight of the distance to the unified code; 0.01 in PSLDH's release. The 0.1 of DCPH's port
    pulls items of related label sets onto one code before the networks can tell them apart."""


class ProxyObjective(ScheduledObjective):
    """An objective on the logits o = h P^T of outputs h against fixed proxies P."""

    settings: ProxySettings
    proxy_codes: Tensor

    def __init__(self, context: Context, settings: ProxySettings) -> None:
        super().__init__(context, settings)
        proxies = make_proxies(
            settings.proxies,
            classes=context.classes,
            bits=context.bits,
            seed=context.seed,
            assignment=settings.assignment,
            labels=certain(context.labels).numpy(),
            phnet_hidden=settings.phnet_hidden,
            phnet_beta=settings.phnet_beta,
            track=context.track,
        )
        self.gamma = settings.gamma or 1.2 / math.sqrt(context.bits)
        self.sigma = settings.sigma * context.bits
        self.register_buffer("proxy_codes", proxies.tensor())
        self._origin = proxies.origin

    @property
    def proxies(self) -> Proxies:
        """P as it is used: after a resume, that of the checkpoint."""
        codes = self.proxy_codes.to(torch.int8).cpu().numpy()
        return Proxies(codes=codes, origin=self._origin)

    def logits(self, outputs: Tensor) -> Tensor:
        """Return o = h P^T, (b, C) in (-K, K)."""
        return outputs @ self.proxy_codes.T

    def quantization(self, batch: Batch) -> Tensor:
        """Return lambda ||B - h||^2, summed over the modalities that learn."""
        unified = self.unified(batch)
        total = batch.labels.new_zeros(())
        for modality in batch.learning:
            rows = batch.supervised(modality)
            total = total + quantization(batch.outputs[modality][rows], unified[rows])
        return self.settings.lambda_ * total
