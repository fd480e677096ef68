"""The moving average of weights that is evaluated and saved."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.training.state import Networks
    from proxyhash.training.tuned import TunedEncoder

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of weights, updated after every step: w' = d w' + (1 - d) w.

    The decay d rises as (1 + step) / (10 + step) to its final value, so that initial weights do not
    linger in short runs (as TensorFlow's ExponentialMovingAverage with `num_updates`).

    Attributes:
        networks: the networks with averaged weights.
        encoders: averaged weights of encoders that learn, by modality and name.
    """

    def __init__(
        self,
        networks: Networks,
        encoders: Mapping[Modality, TunedEncoder] = MappingProxyType({}),
        *,
        decay: float,
    ) -> None:
        self.networks = copy.deepcopy(networks).eval().requires_grad_(False)
        self.encoders = {
            modality: {name: value.clone() for name, value in tuned.weights.items()}
            for modality, tuned in encoders.items()
        }
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(
        self,
        networks: Networks,
        encoders: Mapping[Modality, TunedEncoder] = MappingProxyType({}),
    ) -> None:
        """Take in the weights after one step; statistics of batch normalization are copied."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averaged: list[torch.Tensor] = list(self.networks.parameters())
        torch._foreach_lerp_(averaged, list[torch.Tensor](networks.parameters()), 1 - decay)
        for mine, theirs in zip(self.networks.buffers(), networks.buffers(), strict=True):
            mine.copy_(theirs)
        for modality, tuned in encoders.items():
            if tuned.steps:  # before that, both are the weights it came with
                tuned.average_into(self.encoders[modality], share=1 - decay)
