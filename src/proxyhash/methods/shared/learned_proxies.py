"""Methods whose proxies are real-valued parameters, compared with outputs by their cosine."""

from __future__ import annotations

import math
from abc import ABC
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from proxyhash.losses import certain, irrelevant_pairs, nearest_codes, share_a_label
from proxyhash.methods.shared.batch import sign
from proxyhash.methods.shared.objective import Objective
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context
    from proxyhash.methods.shared.settings import Settings

__all__ = [
    "LearnedProxyObjective",
    "draw_proxies",
    "kaiming_proxies",
    "multi_label_pairs",
    "uniform_agreement",
]


def draw_proxies(context: Context) -> Tensor:
    """Return one vector per class, (C, K), standard normal and decided by the run's seed."""
    generator = torch.Generator().manual_seed(context.seed)
    return torch.randn(context.classes, context.bits, generator=generator)


def kaiming_proxies(context: Context) -> Tensor:
    """Return the first proxies, (C, K), of HyP²'s release: Kaiming's normal draw over classes."""
    return draw_proxies(context) * math.sqrt(2 / context.classes)


def multi_label_pairs(batch: Batch, *, tau: float) -> Tensor:
    """Return the sum of `irrelevant_pairs` within and across modalities.

    Of the items with two labels or more, as in HyP²'s release and those that come from it.

    Args:
        batch: The batch.
        tau: Cosine up to which a pair costs nothing.
    """
    total = batch.labels.new_zeros(())
    several = certain(batch.labels).sum(dim=1) > 1
    for modality, against in batch.pairs():
        rows, columns = batch.present[modality] & several, batch.present[against] & several
        total = total + irrelevant_pairs(
            batch.outputs[modality][rows],
            batch.outputs[against][columns],
            share_a_label(batch.labels[rows], batch.labels[columns]),
            tau=tau,
        )
    return total


def uniform_agreement(batch: Batch) -> Tensor:
    """Return the sum over modalities of the mean h_i . b_i, with b drawn uniformly in each step.

    One code in {-1, +1}^K is drawn per item of the batch, and assigned so that the sum of
    distances |h_i - b_i| is least; all modalities have the same codes.
    """
    total = batch.labels.new_zeros(())
    first = next(iter(batch.outputs.values()))
    shape = (len(batch.labels), first.shape[1])
    drawn = torch.randint(2, shape, device=batch.labels.device).to(batch.labels.dtype) * 2 - 1
    for modality in batch.learning:
        outputs = batch.outputs[modality][batch.supervised(modality)]
        codes = nearest_codes(outputs, drawn[: len(outputs)])
        total = total + (outputs * codes).sum() / max(len(outputs), 1)
    return total


class LearnedProxyObjective(Objective, ABC):
    """Has one real-valued vector per class, which learns with the networks.

    Args:
        context: See `Objective`.
        settings: See `Objective`.
        vectors: (C, K) first proxies; their length decides how fast their direction learns.
    """

    reads_memory = False

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
