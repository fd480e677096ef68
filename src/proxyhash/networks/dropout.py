"""Dropout that draws eight units at a time on a processor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout"]

_WORD = 64  # bits that a generator gives at once


class Dropout(nn.Dropout):
    """Dropout of Srivastava et al., "Dropout", JMLR 2014, scaled in training, as torch's.

    On a processor, torch draws a random word for every unit, which takes longer than the product
    before it. Here a word decides about eight units where the share is a multiple of 1/256, and
    about four where it is rounded to one of 1/65,536.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- torch's
        """Return units of any shape, those that stay scaled so that sums are expected to stay."""
        if not self.training or input.device.type != "cpu" or not 0 < self.p < 1:
            return super().forward(input)
        bits = 8 if (256 * self.p).is_integer() else 16
        dropped = round(2**bits * self.p)
        if dropped in {0, 2**bits}:
            return super().forward(input)
        kept = _draw(input.shape, bits) >= dropped - 2 ** (bits - 1)
        scaled: Tensor = input * kept.to(input.dtype).mul_(2**bits / (2**bits - dropped))
        return scaled


def _draw(shape: torch.Size, bits: int) -> Tensor:
    """Return whole numbers, each of the type's values as likely as the others."""
    count, each = shape.numel(), _WORD // bits
    words = torch.empty(-(-count // each), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int8 if bits == 8 else torch.int16)[:count].view(shape)
