"""Methods without training: linear networks whose weights are computed before the first epoch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from proxyhash.errors import UsageError
from proxyhash.methods.shared.batch import Batch, Rows
from proxyhash.methods.shared.objective import Objective, Passes
from proxyhash.networks import HashingNetwork
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.networks import Network

__all__ = ["ClosedFormObjective", "Projection"]

Projection = tuple[Tensor, Tensor]
"""(d,) mean m and (d, K) weights W, float64 on the CPU: the logits are (x - m) W."""


class ClosedFormObjective(Objective):
    """An unsupervised method that only projects: it has no passes and no loss.

    Its one "epoch" takes no step; it is there to be validated and saved like any other.
    """

    reads_memory = False
    closed_form = True
    needs_labels = False
    defaults: ClassVar[Mapping[str, Any]] = {
        "hidden": (),
        "dropout": 0.0,
        "output_batch_norm": False,
        "epochs": 1,
    }

    @property
    def passes(self) -> Passes:
        """None: nothing is trained."""
        return ()

    @abstractmethod
    def projections(self, train: Rows) -> Mapping[Modality, Projection]:
        """Return the projection of each modality.

        Args:
            train: The training items on the CPU, float64, standardized if the networks do so.
        """

    @torch.no_grad()
    def begin_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Fill the one layer of each network.

        Raises:
            UsageError: the networks are not of the kind "hashing".
        """
        linear: dict[Modality, HashingNetwork] = {}
        for modality, network in networks.items():
            if not isinstance(network, HashingNetwork):
                raise UsageError(
                    f"methods in closed form fill networks of kind hashing, not {network.kind}; "
                    "leave out --network-kind"
                )
            linear[modality] = network
        rows = Rows(
            features={
                modality: linear[modality].standardized(features[:]).double().cpu()
                for modality, features in train.features.items()
            },
            present={modality: present.cpu() for modality, present in train.present.items()},
            labels=train.labels.cpu(),
        )
        found = self.projections(rows)
        for modality in track(list(found), f"fill {len(found)} networks"):
            mean, weights = found[modality]
            (layer,) = (part for part in linear[modality].layers if isinstance(part, nn.Linear))
            layer.weight.copy_(weights.T)
            layer.bias.copy_(-mean @ weights)

    def loss(self, batch: Batch) -> dict[str, Tensor]:  # noqa: ARG002
        """Return no terms, as there are no passes."""
        return {}
