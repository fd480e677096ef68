"""DAPH: data-aware proxy hashing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from proxyhash.losses import data_softmax, margin_dynamic_softmax
from proxyhash.methods.shared.data_proxies import learn_data_proxies
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.schedule import ScheduledObjective, ScheduleSettings
from proxyhash.progress import Track, silent
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch, Rows
    from proxyhash.methods.shared.objective import Context
    from proxyhash.networks.hashing_network import HashingNetwork

__all__ = ["Daph", "DaphSettings"]


class DaphSettings(ScheduleSettings):
    """Settings of `daph`."""

    gamma: float = Field(default=10.0, gt=0)
    """Sharpness of every softmax, on cosines; published 20, which is worse at 16 bits."""
    sigma: float = Field(default=0.2, ge=0)
    """Margin of every softmax, on cosines."""
    eta: float = Field(default=1.0, ge=0)
    """Weight of the data proxies that share some labels with an item."""
    alpha: float = Field(default=0.2, ge=0)
    """Weight of the bit balance in the first stage."""
    beta: float = Field(default=0.2, ge=0)
    """Weight of the quantization in the first stage."""
    first_stage_epochs: int = Field(default=5, ge=1)
    """Rounds of the first stage, with Adam; published 80, with SGD."""
    data_proxies: int = Field(default=1000, ge=1)
    """Most train items whose codes are proxies, drawn at random before training; published: all
    items. A step costs time in proportion: with 5,000, a run takes several times as long as one of
    `dchml`, with 1,000 about twice."""


@register_method("daph")
class Daph(ScheduledObjective):
    """Outputs aim at proxies of the classes and at those of the train items themselves.

    A first stage learns class proxies P together with an image and a text network that see an
    item's labels beside its features; their codes of the train items are the data proxies A, A'.
    Then, for each modality that learns, with cosines o = h P^T / K,

        L = margin_dynamic_softmax(o)                                                "classes"
          + sum over A and A' of the mean softmax term of each proxy of equal labels "same"
          + eta (sum over A and A' of one term of those that share some)             "partial"

    against the negative classes, and the data proxies with foreign labels.

    Source: Tu et al., "Data-Aware Proxy Hashing for Cross-modal Retrieval", SIGIR 2023, details as
    in the released code. Published schedule: alternating, SGD from 0.005, 100 epochs.
    """

    settings_type = DaphSettings
    settings: DaphSettings
    class_codes: Tensor

    def __init__(self, context: Context, settings: DaphSettings) -> None:
        super().__init__(context, settings)
        self.count = min(len(context.labels), settings.data_proxies)
        self.register_buffer("class_codes", torch.zeros(context.classes, context.bits))
        for modality in context.modalities:
            self.register_buffer(f"{modality}_codes", torch.zeros(self.count, context.bits))
            self.register_buffer(f"{modality}_labels", torch.zeros(self.count, context.classes))

    def begin_run(
        self,
        networks: Mapping[Modality, HashingNetwork],  # noqa: ARG002
        train: Rows,
        *,
        track: Track = silent,
    ) -> None:
        """Learn the proxies of both kinds."""
        options = self.settings.model_dump(include={"gamma", "sigma", "alpha", "beta"})
        found = learn_data_proxies(
            train, self.bits, epochs=self.settings.first_stage_epochs, track=track, **options
        )
        self.class_codes.copy_(found.classes)
        drawn = torch.randperm(len(train))[: self.count].to(train.labels.device)
        for modality in self.modalities:
            codes, labels = self._data_proxies(modality)
            codes.copy_(found.items[modality][drawn])
            # A proxy without labels takes part in no term.
            labels.copy_(train.labels[drawn] * train.present[modality][drawn, None])

    @property
    def proxies(self) -> Proxies:
        """P."""
        return Proxies(codes=self.class_codes.to(torch.int8).cpu().numpy(), origin="daph")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "classes", "same" and "partial"."""
        gamma, sigma = self.settings.gamma, self.settings.sigma
        classes = same = partial = batch.labels.new_zeros(())
        for modality in batch.learning:
            outputs, labels = batch.outputs[modality] / self.bits, batch.labels_of(modality)
            classes = classes + margin_dynamic_softmax(
                outputs @ self.class_codes.T, labels, gamma=gamma, sigma=sigma
            )
            for source in self.modalities:
                codes, code_labels = self._data_proxies(source)
                terms = data_softmax(
                    outputs @ codes.T, labels, code_labels, gamma=gamma, sigma=sigma
                )
                same, partial = same + terms[0], partial + terms[1]
        return {"classes": classes, "same": same, "partial": self.settings.eta * partial}

    def _data_proxies(self, modality: Modality) -> tuple[Tensor, Tensor]:
        """Return codes (p, K) and labels (p, C)."""
        return self.get_buffer(f"{modality}_codes"), self.get_buffer(f"{modality}_labels")
