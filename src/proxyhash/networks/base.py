"""Interface of a hashing network, and the registry of network kinds.

A new kind is one file: a subclass of `Network` under `@register_network`, in the file of the method
that trains it, in `proxyhash.networks`, or in another package that names its module under the
entry-point group `proxyhash.networks`. `tests/networks/test_contract.py` runs over every kind.

    @register_network
    class LowRank(Network):
        kind = "low-rank"

        def __init__(self, dim_in: int, bits: int, *, rank: int = 8, seed: int = 0) -> None:
            super().__init__({"dim_in": dim_in, "bits": bits, "rank": rank})
            ...

        def logits(self, features):
            return self.second(self.first(features))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from proxyhash.errors import UsageError
from proxyhash.registry import Registry

__all__ = ["NETWORKS", "Network", "network_from", "register_network"]

_UNNAMED_KINDS = ("hashing", "posterior")


class Network(nn.Module, ABC):
    """Features (n, d) to outputs (n, K) in (-1, 1), whose signs are the code.

    The constructor of a kind accepts `dim_in`, `bits`, `seed` and its own arguments by keyword.
    Equal seeds give equal weights, whatever the state of torch's global generator.

    Args:
        config: every argument of the constructor but the seed, as JSON values. `from_config`
            rebuilds the network from it, and it is part of a model's fingerprint.

    Raises:
        UsageError: `dim_in` or `bits` is below 1.
    """

    kind: ClassVar[str]

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        for name in ("dim_in", "bits"):
            if config[name] < 1:
                raise UsageError(f"{name} is {config[name]}; it must be at least 1")
        self.config: dict[str, Any] = dict(config)

    @classmethod
    def make(
        cls,
        dim_in: int,
        bits: int,
        *,
        classes: int,  # noqa: ARG003  # for kinds that predict classes
        seed: int,
        **options: Any,
    ) -> Network:
        """Return an untrained network for data of `classes` classes.

        Args:
            dim_in: width d of the features.
            bits: code length K.
            classes: number of classes C of the training items.
            seed: determines the initial weights.
            options: the other arguments of the constructor.
        """
        return cls(**options | {"dim_in": dim_in, "bits": bits, "seed": seed})

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Network:
        """Return a network with this `config`, ready for `load_state_dict`."""
        return cls(**config)

    @property
    def bits(self) -> int:
        """Code length K."""
        return int(self.config["bits"])

    @property
    def dim_in(self) -> int:
        """Width d of the features."""
        return int(self.config["dim_in"])

    @property
    def description(self) -> dict[str, Any]:
        """The `config` as a model stores it, with the kind under "kind".

        The two kinds of version 0.1.0 have no such key, so that their models keep their
        fingerprints; the number under "categories" in the config tells them apart.
        """
        named = {} if self.kind in _UNNAMED_KINDS else {"kind": self.kind}
        return named | self.config

    @abstractmethod
    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the values before tanh; a bit is 1 where they are above 0."""

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the outputs h = tanh(logits)."""
        return torch.tanh(self.logits(features))

    def fit_standardization(
        self, features: Float[Tensor, "n d"], present: Bool[Tensor, " n"] | None = None
    ) -> None:
        """Measure statistics of the features before training; does nothing by default.

        Args:
            features: features of the training items alone.
            present: items that have this modality; the zero rows of the others are ignored.
        """

    def fit_standardization_in_blocks(self, blocks: Callable[[], Iterable[Tensor]]) -> None:
        """Measure the same of features that do not fit into memory; does nothing by default.

        Args:
            blocks: yields the features of the training items that have the modality, (b, d) each;
                called more than once.
        """

    def share_parts(self, first: Network) -> None:
        """Use parts of the network of the run's first modality; does nothing by default."""


NETWORKS: Registry[type[Network]] = Registry(
    "network kind",
    group="proxyhash.networks",
    # `methods` is a higher floor: a method defines the network that it alone trains in its own
    # file. The modules are named here, not imported, and loaded when a kind is looked up by name.
    modules=("proxyhash.networks.*", "proxyhash.methods.*"),
)


def register_network(kind: type[Network]) -> type[Network]:
    """Register a network class under its `kind`; a class decorator."""
    return NETWORKS.add(kind.kind, kind)


def network_from(description: Mapping[str, Any]) -> Network:
    """Return the network that `Network.description` describes, ready for `load_state_dict`.

    Raises:
        UsageError: no kind of that name is registered, or an argument is out of its range.
        TypeError: the description lacks an argument of the kind or has an unknown one.
    """
    config = dict(description)
    kind = config.pop("kind", None) or ("posterior" if config.get("categories") else "hashing")
    return NETWORKS[kind].from_config(config)
