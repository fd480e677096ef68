"""DCMH: the pairwise likelihood of image-text pairs, the yardstick of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from proxyhash.losses import bit_balance, pairwise_likelihood, quantization
from proxyhash.methods.base import Batch, Context, other
from proxyhash.methods.registry import register_method
from proxyhash.methods.schedule import ScheduledObjective, ScheduleSettings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.data.item import Modality

__all__ = ["Dcmh", "DcmhSettings"]


class DcmhSettings(ScheduleSettings):
    """Settings of `dcmh`."""

    gamma: float = Field(default=1.0, ge=0)
    """Weight of the quantisation."""
    eta: float = Field(default=1.0, ge=0)
    """Weight of the bit balance."""


@register_method("dcmh")
class Dcmh(ScheduledObjective):
    """Inner products of image and text outputs say whether the two share a label.

        J = sum_ij softplus(theta_ij) - S_ij theta_ij            theta_ij = f_i . g_j / 2
          + gamma (|B - F|^2 + |B - G|^2) + eta (|F 1|^2 + |G 1|^2)       B = sign(F + G)

    with S_ij = 1 where image i and text j share a label, divided by the number of pairs, so that
    the loss does not grow with the data. In alternating training, as published, a batch of one
    modality meets all train items of the other; in joint training the pairs are those of a batch.

    Source: Jiang and Li, "Deep Cross-Modal Hashing", CVPR 2017, equation 1 and algorithm 1. The
    "reference" preset has the optimiser of the released code, which learns its backbones too: SGD
    from 10^-1.5, 500 epochs, a text network with 8,192 hidden units.
    """

    settings_type = DcmhSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "reference": {
            "optimizer": "sgd",
            "momentum": 0.0,
            "learning_rate": 10**-1.5,
            "lr_schedule": "cosine",
            "epochs": 500,
            "batch_size": 128,
            "hidden": [4096, 4096],
            "text_network": {"hidden": [8192]},
            "settings": {"schedule": "alternating"},
        }
    }
    settings: DcmhSettings
    train_labels: Tensor

    def __init__(self, context: Context, settings: DcmhSettings) -> None:
        super().__init__(context, settings)
        self.register_buffer("train_labels", context.labels, persistent=False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "pairs", "quantization" and "balance"."""
        return self._alternating(batch) if self.alternating else self._joint(batch)

    def _joint(self, batch: Batch) -> dict[str, Tensor]:
        """Pairs of the batch's images and texts."""
        image_rows, text_rows = batch.supervised("image"), batch.supervised("text")
        image, text = batch.need("image")[image_rows], batch.need("text")[text_rows]
        unified = self.unified(batch)
        similar = _share_a_label(batch.labels[image_rows], batch.labels[text_rows])
        quantized = quantization(image, unified[image_rows]) + quantization(
            text, unified[text_rows]
        )
        return self._weighted(
            pairwise_likelihood(image, text, similar),
            quantized,
            _per_item(bit_balance(image), image) + _per_item(bit_balance(text), text),
            items=len(batch.labels),
        )

    def _alternating(self, batch: Batch) -> dict[str, Tensor]:
        """Pairs of the batch's one modality with all train items of the other."""
        (modality,) = batch.learning()
        rows = batch.supervised(modality)
        outputs = batch.need(modality)[rows]
        across = self._taught(batch, other(modality))
        others = batch.memory.of(other(modality))[across]
        similar = _share_a_label(batch.labels[rows], self.train_labels[across])
        # The balance is that of all train items, of which the batch's rows carry the gradient.
        everyone = batch.memory.of(modality).index_put((batch.index[rows],), outputs)
        balance = bit_balance(everyone[self._taught(batch, modality)])
        return self._weighted(
            pairwise_likelihood(outputs, others, similar),
            quantization(outputs, self.unified(batch)[rows]),
            _per_item(balance, outputs),
            items=len(others),
        )

    def _taught(self, batch: Batch, modality: Modality) -> Tensor:
        """Return (n,) bool: train items with the modality and a label."""
        return batch.memory.has(modality) & self.train_labels.bool().any(dim=1)

    def _weighted(
        self, pairs: Tensor, quantized: Tensor, balance: Tensor, *, items: int
    ) -> dict[str, Tensor]:
        """Name and weight the terms; all sums of the paper are divided by the number of pairs."""
        return {
            "pairs": pairs,
            "quantization": self.settings.gamma * quantized / max(items, 1),
            "balance": self.settings.eta * balance,
        }


def _per_item(total: Tensor, outputs: Tensor) -> Tensor:
    return total / max(len(outputs), 1)


def _share_a_label(labels: Tensor, others: Tensor) -> Tensor:
    """Return S, (n, m) in {0, 1}."""
    return (labels @ others.T > 0).to(labels.dtype)
