"""PHNet for label posteriors: from how likely each class is to a code, for both modalities."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["PosteriorPHNet"]


class PosteriorPHNet(nn.Module):
    """Class logits z (n, C) to the logits of a code (n, K).

    The PHNet of DCHML reads one-hot classes. This one reads any set of classes with a
    probability each, so that an item of several classes, or of uncertain ones, has a proxy of
    its own: 4 sigmoid(z) - 1 -> hidden, ReLU -> K, batch normalization.

    Args:
        classes: number of classes C.
        bits: code length K.
        hidden: width of the hidden layer.
        seed: makes the first weights.
    """

    def __init__(self, categories: int, bits: int, *, hidden: int = 256, seed: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(categories, hidden),
            nn.ReLU(),
            nn.Linear(hidden, bits),
            nn.BatchNorm1d(bits),
        )
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def forward(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n k"]:
        """Return the logits of the codes; a bit is 1 where they are above 0."""
        codes: Tensor = self.layers(4 * torch.sigmoid(logits) - 1)
        return codes
