"""The linear map that reads features, faster where nearly all of them are zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from proxyhash.networks.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["InputLinear", "is_sparse"]

_SPARSE = 0.05  # share of features that are not zero, up to which gathering is faster
_NARROW = 256  # features up to which it is not worth looking


class InputLinear(Linear):
    """A linear map whose weights can lie in memory feature by feature.

    A bag of words is zero but for some words of thousands. The sum over those alone, with a
    gradient for their weights alone, takes a third of the time on a processor, see
    `benchmarks/layers.py`, and differs from the product by rounding. It is taken after
    `lay_out`, where features are that sparse, have no gradient, and nothing else decides how
    products are computed, such as autocast.
    """

    def lay_out(self) -> None:
        """Put the weights of each feature side by side; nothing else about them changes."""
        laid_out = self.weight.detach().t().contiguous().t()
        self.weight = nn.Parameter(laid_out, requires_grad=self.weight.requires_grad)

    def forward(self, input: Float[Tensor, "n d"]) -> Float[Tensor, "n h"]:  # noqa: A002 -- torch's
        """Return the outputs."""
        by_feature = self.weight.t()
        if not by_feature.is_contiguous() or not is_sparse(input):
            return super().forward(input)
        rows, features = input.nonzero(as_tuple=True)
        starts = torch.searchsorted(rows, torch.arange(len(input)))
        summed: Tensor = functional.embedding_bag(
            features, by_feature, starts, mode="sum", per_sample_weights=input[rows, features]
        )
        return summed if self.bias is None else summed + self.bias


def is_sparse(values: Tensor) -> bool:
    """Return whether gathering the weights of a batch is faster, and would be the same map."""
    if values.ndim != 2 or values.shape[1] <= _NARROW or values.device.type != "cpu":
        return False
    jit: Any = torch.jit  # its types leave `is_tracing` out
    if values.requires_grad or values.dtype != torch.float32:
        return False
    if jit.is_tracing() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return int(torch.count_nonzero(values)) <= _SPARSE * values.numel()
