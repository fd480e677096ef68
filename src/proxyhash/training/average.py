"""The exponential moving average of the weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from proxyhash.training.networks import Networks

__all__ = ["WeightAverage"]


class WeightAverage:
    """Averaged copies of networks, updated after every step: w' = d w' + (1 - d) w.

    The decay d rises as (1 + step) / (10 + step) up to its final value, so that the first weights
    do not linger in short runs (as TensorFlow's ExponentialMovingAverage with `num_updates`).
    """

    def __init__(self, networks: Networks, *, decay: float) -> None:
        self.networks = copy.deepcopy(networks).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, networks: Networks) -> None:
        """Take in the weights after one step; statistics of batch normalization are copied."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averaged: list[torch.Tensor] = list(self.networks.parameters())
        torch._foreach_lerp_(averaged, list[torch.Tensor](networks.parameters()), 1 - decay)
        for mine, theirs in zip(self.networks.buffers(), networks.buffers(), strict=True):
            mine.copy_(theirs)
