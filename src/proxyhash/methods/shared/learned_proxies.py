"""Methods whose proxies are real-valued parameters, compared with outputs by their cosine."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from proxyhash.methods.shared.batch import sign
from proxyhash.methods.shared.objective import Objective
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context
    from proxyhash.methods.shared.settings import Settings

__all__ = ["LearnedProxyObjective", "draw_proxies"]


def draw_proxies(context: Context) -> Tensor:
    """Return one vector per class, (C, K), standard normal and decided by the run's seed."""
    generator = torch.Generator().manual_seed(context.seed)
    return torch.randn(context.classes, context.bits, generator=generator)


class LearnedProxyObjective(Objective, ABC):
    """Has one real-valued vector per class, which learns with the networks.

    Args:
        context: See `Objective`.
        settings: See `Objective`.
        vectors: (C, K) first proxies; their length decides how fast their direction learns.
    """

    def __init__(self, context: Context, settings: Settings, vectors: Tensor) -> None:
        super().__init__(context, settings)
        self.proxy_vectors = nn.Parameter(vectors)

    @property
    def proxies(self) -> Proxies:
        """The signs of the proxies as they are now."""
        codes = sign(self.proxy_vectors.detach()).to(torch.int8).cpu().numpy()
        return Proxies(codes=codes, origin="learned")

    def cosines(self, outputs: Tensor) -> Tensor:
        """Return cos(h, p_c), (b, C)."""
        directions = functional.normalize(self.proxy_vectors, dim=1)
        return functional.normalize(outputs, dim=1) @ directions.T

    @staticmethod
    def taught(batch: Batch) -> tuple[Tensor, Tensor]:
        """Return outputs and labels of the supervised items of every learning modality, stacked."""
        rows = {modality: batch.supervised(modality) for modality in batch.learning}
        outputs = [batch.outputs[modality][taken] for modality, taken in rows.items()]
        return torch.cat(outputs), torch.cat([batch.labels[taken] for taken in rows.values()])
