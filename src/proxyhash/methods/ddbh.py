"""DDBH: a likelihood of pairs around boundaries between easy and hard ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from proxyhash.losses import boundary_likelihood, share_a_label
from proxyhash.methods.shared.batch import sign
from proxyhash.methods.shared.objective import Context, MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch

__all__ = ["Ddbh", "DdbhSettings"]


class DdbhSettings(Settings):
    """Settings of `ddbh`."""

    width: float = Field(default=1 / 2, gt=0)
    """Share of K between the boundary of easy pairs and a likelihood of .99; published 1/6, which
    is worse on frozen features at 16 and at 64 bits."""
    ceiling: float = Field(default=1 / 4, gt=0)
    """Share of K that a boundary is at most; published 1/4."""
    lambda_: float = Field(default=0.5, ge=0)
    """Weight of the quantization; published .1 of a sum over the batch, which for its 64 items is
    6.4 and worse."""


@register_method("ddbh")
class Ddbh(Objective):
    """Inner products of pairs lie on the right side of boundaries that each item has for itself.

    For image x image, text x text and image x text, with the boundaries B+ and B- of item i between
    easy and hard similar pairs, and between easy and hard dissimilar ones (see
    `losses.boundary_likelihood`), x_ij = h_i . g_j, and a width w that is half as
    large for hard pairs as for easy ones, which have K/2 here and K/6 in the release,

        L_i = mean_{j similar} log(1 + exp(-log 99 (x_ij - B+) / w))
            + mean_{j dissimilar} log(1 + exp(log 99 (x_ij - B-) / w))      "pairs"

    averaged over the items i that have pairs of both kinds; and for each modality, with S_ij = 1
    where i and j share a label,

        lambda mean_ij S_ij mean_k (h_jk - sign(h_jk))^2                    "quantization"

    Source: DDBH, "Deep Discriminative Boundary Hashing for Cross-modal Retrieval", IEEE TCSVT 2025,
    as in the authors' releases (QinLab-WFU/DDBH, train/hash_train.py;
    QinLab-WFU/CLIP-based-Cross-Modal-Hashing, train/DDBH/loss.py); the paper's text was not read.
    As there, only images are compared with texts, and not texts with images. Not copied: the class
    of the loss calls the constructor of another, which stops it; log(1 + exp(x)) is computed as it
    stands and overflows for long codes; pairs exactly on a boundary are dropped; and the
    quantization is a sum over j, which grows with the batch size.
    """

    reads_memory = False
    settings_type = DdbhSettings
    card = MethodCard(
        idea="boundaries between easy and hard pairs, for each item its own",
        loss="log(1 + exp(∓(h·g - B±) / w)), w half as wide where a pair is hard",
        source="DDBH, TCSVT 2025",
    )
    settings: DdbhSettings

    def __init__(self, context: Context, settings: DdbhSettings) -> None:
        super().__init__(context, settings)
        self.width = settings.width * context.bits
        self.ceiling = settings.ceiling * context.bits

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "pairs" and "quantization"."""
        pairs = batch.labels.new_zeros(())
        for modality, against in batch.pairs():
            pairs = pairs + self._pairs(batch, modality, against)
        quantized = batch.labels.new_zeros(())
        for modality in batch.learning:
            quantized = quantized + self._quantization(batch, modality)
        return {"pairs": pairs, "quantization": self.settings.lambda_ * quantized}

    def _pairs(self, batch: Batch, modality: Modality, against: Modality) -> Tensor:
        rows, columns = batch.supervised(modality), batch.supervised(against)
        return boundary_likelihood(
            batch.outputs[modality][rows],
            batch.outputs[against][columns],
            share_a_label(batch.labels[rows], batch.labels[columns]),
            width=self.width,
            ceiling=self.ceiling,
        )

    def _quantization(self, batch: Batch, modality: Modality) -> Tensor:
        rows = batch.supervised(modality)
        outputs, labels = batch.outputs[modality][rows], batch.labels[rows]
        similar = share_a_label(labels, labels).to(outputs.dtype)
        distances = (outputs - sign(outputs)).square().sum(dim=1) / self.bits
        return (similar @ distances).sum() / max(similar.numel(), 1)
