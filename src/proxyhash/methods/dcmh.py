"""DCMH: the pairwise likelihood of image-text pairs, the yardstick of the field."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from proxyhash.losses import (
    bit_balance,
    certain,
    pairwise_likelihood,
    probable_similarity,
    quantization,
)
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.schedule import ScheduledObjective, ScheduleSettings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context

__all__ = ["Dcmh", "DcmhSettings"]


class DcmhSettings(ScheduleSettings):
    """Settings of `dcmh`."""

    scale: float | None = Field(default=None, gt=0)
    """Factor of the inner products in theta; published 1/2. None: 8 / K, which
    is 1/2 at 16 bits and keeps the range of theta at every code length."""
    gamma: float = Field(default=0.2, ge=0)
    """Weight of the quantization; published 1."""
    eta: float = Field(default=0.002, ge=0)
    """Weight of the bit balance; published 1, which frozen features bear badly."""


@register_method("dcmh")
class Dcmh(ScheduledObjective):
    """Inner products of image and text outputs say whether the two share a label.

        J = sum_ij softplus(theta_ij) - S_ij theta_ij            theta_ij = s f_i . g_j
          + gamma (|B - F|^2 + |B - G|^2) + eta (|F 1|^2 + |G 1|^2)       B = sign(F + G)

    with S_ij = 1 where image i and text j share a label, divided by the number of pairs, so that
    the loss does not grow with the data. In alternating training, as in the paper, a batch of one
    modality is paired with all training items of the other; in joint training the pairs are those
    of a batch.

    Source: Jiang and Li, "Deep Cross-Modal Hashing", CVPR 2017, equation 1 and algorithm 1. The
    "reference" preset has the optimizer of DCMH's own release, which learns its backbones too: SGD
    from 10^-1.5, 500 epochs, a text network with 8,192 hidden units.
    """

    settings_type = DcmhSettings
    across = True
    card = MethodCard(
        idea="pairs that share a label have a large inner product",
        loss="softplus(θ) - Sθ over image x text, θ = s h·g",
        source="Jiang and Li, CVPR 2017",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "reference": {
            "optimizer": "sgd",
            "momentum": 0.0,
            "learning_rate": 10**-1.5,
            "lr_schedule": "cosine",
            "epochs": 500,
            "batch_size": 128,
            "hidden": [4096, 4096],
            "dropout": 0.0,
            "output_batch_norm": False,
            "networks": {"text": {"hidden": [8192]}},
            "settings": {"schedule": "alternating", "gamma": 1.0, "eta": 1.0, "scale": 0.5},
        }
    }
    settings: DcmhSettings
    train_labels: Tensor

    def __init__(self, context: Context, settings: DcmhSettings) -> None:
        super().__init__(context, settings)
        self.scale = settings.scale or 8 / context.bits
        self.register_buffer("train_labels", context.labels.float(), persistent=False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "pairs", "quantization" and "balance"."""
        return self._alternating(batch) if self.alternating else self._joint(batch)

    def _joint(self, batch: Batch) -> dict[str, Tensor]:
        """Pairs of the batch's items across modalities."""
        pairs = batch.labels.new_zeros(())
        for one, other in combinations(batch.learning, 2):
            rows, columns = batch.supervised(one), batch.supervised(other)
            similar = probable_similarity(batch.labels[rows], batch.labels[columns])
            pairs = pairs + self._likelihood(
                batch.outputs[one][rows], batch.outputs[other][columns], similar
            )
        return self._terms(batch, pairs, items=len(batch.labels))

    def _alternating(self, batch: Batch) -> dict[str, Tensor]:
        """Pairs of the batch's one modality with all training items of the others."""
        (modality,) = batch.learning
        rows = batch.supervised(modality)
        pairs, items = batch.labels.new_zeros(()), 0
        for other in batch.others(modality):
            across = batch.memory.present[other] & certain(self.train_labels).any(dim=1)
            others = batch.memory.outputs[other][across]
            similar = probable_similarity(batch.labels[rows], self.train_labels[across])
            pairs = pairs + self._likelihood(batch.outputs[modality][rows], others, similar)
            items = max(items, len(others))
        return self._terms(batch, pairs, items=items)

    def _terms(self, batch: Batch, pairs: Tensor, *, items: int) -> dict[str, Tensor]:
        """Weight the terms: like the pairs, the paper's other sums are divided by n * m.

        Args:
            batch: The batch.
            pairs: The likelihood, a mean over pairs.
            items: How many items m each item of the batch was paired with.
        """
        quantized = balance = batch.labels.new_zeros(())
        unified = self.unified(batch)
        for modality in batch.learning:
            rows = batch.supervised(modality)
            outputs = batch.outputs[modality][rows]
            quantized = quantized + quantization(outputs, unified[rows])
            balance = balance + _balance(outputs)
        return {
            "pairs": pairs,
            "quantization": self.settings.gamma * quantized / max(items, 1),
            "balance": self.settings.eta * balance,
        }

    def _likelihood(self, outputs: Tensor, others: Tensor, similar: Tensor) -> Tensor:
        # The loss halves inner products itself, as in the paper.
        return pairwise_likelihood(2 * self.scale * outputs, others, similar)


def _balance(outputs: Tensor) -> Tensor:
    """Return |F 1|^2 / n^2 of all items as a batch estimates it: the mean f_i . f_j over i != j.

    With i = j, chance alone would cost K / b in a batch of b, and outputs would shrink to save it.
    """
    count = len(outputs)
    pairs = max(count * (count - 1), 1)
    return (count * bit_balance(outputs) - outputs.square().sum()) / pairs
