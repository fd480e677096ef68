"""The linear map of hidden layers, whose factors can be rounded to bfloat16."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float

__all__ = ["Linear", "rounding"]

_rounded = False


@contextmanager
def rounding(enabled: bool) -> Iterator[None]:
    """Round the factors of all products of `Linear` to bfloat16 inside the block, or none."""
    global _rounded  # noqa: PLW0603 -- as torch's own precisions are
    before, _rounded = _rounded, enabled
    try:
        yield
    finally:
        _rounded = before


class Linear(nn.Linear):
    """A linear map that is twice as fast inside `rounding` on hardware with bfloat16.

    Features, weights and gradients are rounded, sums are float32 and rounded once; weights and
    their updates stay float32. oneDNN rounds float32 factors by itself with AMX alone, and computes
    in float32 on processors that have bfloat16 in AVX-512 (version 3.12; docs/lab-notes.md).
    """

    def forward(self, input: Float[Tensor, "... d"]) -> Float[Tensor, "... h"]:  # noqa: A002
        """Return the outputs, float32."""
        device = input.device.type
        if not _rounded or input.dtype != torch.float32 or torch.is_autocast_enabled(device):
            return super().forward(input)
        product: Tensor = functional.linear(input.bfloat16(), self.weight.bfloat16()).float()
        return product if self.bias is None else product + self.bias
