"""A method with a network of its own in one file, as another package would bring it.

Two entry points make it known: `proxyhash.methods` for training, and `proxyhash.networks` so that a
saved model finds its network. See `proxyhash_low_rank-1.0.dist-info/entry_points.txt`.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from proxyhash.methods import Batch, MethodCard, Objective, Settings, register_method
from proxyhash.networks import Network, register_network


class LowRankSettings(Settings):
    rank: int = Field(default=8, ge=1)
    """Rank of the one linear map that each network is."""


@register_network
class LowRankNetwork(Network):
    kind = "low-rank"

    def __init__(self, dim_in: int, bits: int, *, rank: int = 8, seed: int = 0) -> None:
        super().__init__({"dim_in": dim_in, "bits": bits, "rank": rank})
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(dim_in, rank, generator=generator) / dim_in**0.5)
        self.second = nn.Parameter(torch.randn(rank, bits, generator=generator) / rank**0.5)

    def logits(self, features: Tensor) -> Tensor:
        return features @ self.first @ self.second


@register_method("low-rank")
class LowRank(Objective):
    """Mean inner products of outputs are 1 where two items share a label, else -1."""

    settings_type = LowRankSettings
    settings: LowRankSettings
    defaults: ClassVar = {"network_kind": "low-rank", "learning_rate": 5e-3}
    card = MethodCard(idea="linear networks of low rank", loss="squares", source="an example")

    def make_network(self, modality, kind, dim_in, *, seed, options):
        return LowRankNetwork(dim_in, self.bits, rank=self.settings.rank, seed=seed)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        total = batch.labels.new_zeros(())
        for one, other in batch.pairs():
            rows, columns = batch.supervised(one), batch.supervised(other)
            found = batch.outputs[one][rows] @ batch.outputs[other][columns].T / self.bits
            shared = batch.labels[rows] @ batch.labels[columns].T > 0
            wanted = 2.0 * shared - 1
            total = total + (found - wanted).square().sum() / max(found.numel(), 1)
        return {"pairs": total}
