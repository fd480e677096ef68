"""Hashing network that predicts classes and turns their probabilities into bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from proxyhash.errors import UsageError
from proxyhash.networks.base import Network, register_network
from proxyhash.networks.hashing_network import HashingNetwork
from proxyhash.networks.posterior import PosteriorPHNet

__all__ = ["PosteriorNetwork"]


@register_network
class PosteriorNetwork(HashingNetwork):
    """Features (n, d) to one logit per class (n, C), which a `PosteriorPHNet` turns into bits.

    Args:
        dim_in: width d of the features.
        bits: code length K.
        classes: number of classes C.
        output_batch_norm: stored and otherwise ignored: the PHNet normalizes the bits itself.
        seed: determines the initial weights.
        layers: the other arguments of `HashingNetwork`, for the layers from features to class
            logits.

    Raises:
        UsageError: an argument is out of its range; names it.
    """

    kind = "posterior"
    phnet: PosteriorPHNet

    def __init__(
        self,
        dim_in: int,
        bits: int,
        *,
        classes: int,
        output_batch_norm: bool = False,
        seed: int = 0,
        **layers: Any,
    ) -> None:
        for name, value in (("bits", bits), ("classes", classes)):
            if value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")
        super().__init__(dim_in, classes, seed=seed, **layers)
        self.config |= {
            "bits": bits,
            "categories": classes,  # the key of version 0.1.0; fingerprints depend on it
            "output_batch_norm": output_batch_norm,
        }
        self.phnet = PosteriorPHNet(classes, bits, seed=seed)

    @classmethod
    def make(cls, dim_in: int, bits: int, *, classes: int, seed: int, **options: Any) -> Network:
        """Return an untrained network that predicts `classes` classes; see `Network.make`."""
        return cls(dim_in, bits, classes=classes, seed=seed, **options)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Network:
        """Return a network with this `config`, ready for `load_state_dict`."""
        arguments = dict(config)
        return cls(classes=arguments.pop("categories"), **arguments)

    def share_parts(self, first: Network) -> None:
        """Use the PHNet of the run's first network, so that codes agree where predictions do."""
        assert isinstance(first, PosteriorNetwork)
        self.phnet = first.phnet

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the values before tanh; a bit is 1 where they are above 0."""
        logits: Tensor = self.phnet(self.class_logits(features))
        return logits

    def class_logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return one logit per class, its sigmoid the probability that the item has it."""
        logits: Tensor = self.layers(self.standardized(features))
        return logits
