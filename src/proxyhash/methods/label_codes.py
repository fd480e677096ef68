"""Label codes: a plain classifier whose predicted label set is written into the bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from proxyhash.losses import bit_cross_entropy, certain
from proxyhash.methods.shared.objective import Context, MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.methods.shared.batch import Batch

__all__ = ["LabelCodes", "LabelCodesSettings", "deal_bits"]


class LabelCodesSettings(Settings):
    """`label-codes` has no settings."""


def deal_bits(labels: Tensor, bits: int) -> Tensor:
    """Return the class of each bit, (K,) int64, ascending.

    Every class has floor(K / C) bits, and the K mod C most frequent ones have one more; with fewer
    bits than classes, only the most frequent classes have one.

    Args:
        labels: bool, labels of the training items, (n, C); of equally frequent classes the
            first comes first.
        bits: code length K.
    """
    each, more = divmod(bits, labels.shape[1])
    frequent = labels.sum(dim=0).argsort(descending=True, stable=True)
    return torch.cat([frequent.repeat(each), frequent[:more]]).sort().values


@register_method("label-codes")
class LabelCodes(Objective):
    """A bit is 1 exactly where its class is predicted: the yardstick of what codes add.

    For each modality that learns, with the class c(k) of each bit, see `deal_bits`, the labels y
    in {0, 1} and p = (1 + h) / 2:

        L = -(1/K) sum_k y_c(k) log p_k + (1 - y_c(k)) log(1 - p_k)         "labels"

    The bits of one class are classifiers of their own, which usually agree. A class is
    predicted where p > 1/2, that is, where the logit is above 0. There is no BatchNorm before the
    sign: it would set each bit for half of the items, however rare its class.
    """

    reads_memory = False
    settings_type = LabelCodesSettings
    card = MethodCard(
        idea="a classifier's predicted label set, written into the bits",
        loss="cross-entropy of each bit with the label of its class",
        source="ours, the trivial yardstick",
        differs="no BatchNorm before the sign",
    )
    defaults: ClassVar[Mapping[str, Any]] = {"output_batch_norm": False}
    bit_category: Tensor

    def __init__(self, context: Context, settings: LabelCodesSettings) -> None:
        super().__init__(context, settings)
        self.register_buffer("bit_category", deal_bits(certain(context.labels), context.bits))

    @property
    def proxies(self) -> Proxies:
        """The codes of items with one class each; equal for classes without a bit."""
        alone = self._codes(torch.eye(self.classes, device=self.bit_category.device))
        return Proxies(codes=alone.to(torch.int8).cpu().numpy(), origin="labels")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the term "labels"."""
        total = batch.labels.new_zeros(())
        for modality in batch.learning:
            rows = batch.supervised(modality)
            outputs = batch.outputs[modality][rows]
            total = total + bit_cross_entropy(outputs, self._codes(batch.labels[rows]))
        return {"labels": total}

    def _codes(self, labels: Tensor) -> Tensor:
        """Return the codes of label sets, (n, K) in {-1, +1}, for multi-hot labels (n, C)."""
        return 2 * certain(labels)[:, self.bit_category].to(labels.dtype) - 1
