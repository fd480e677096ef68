"""Networks that turn features into bits, by kind."""

from __future__ import annotations

from proxyhash.networks.base import NETWORKS, Network, register_network
from proxyhash.networks.hashing_network import HashingNetwork

__all__ = [
    "NETWORKS",
    "HashingNetwork",
    "Network",
    "register_network",
]
