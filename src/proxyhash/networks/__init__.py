"""Networks that turn features into bits: hashing networks, and PHNet, which learns proxies."""

from __future__ import annotations

from proxyhash.networks.base import NETWORKS, Network, register_network
from proxyhash.networks.hashing_network import HashingNetwork, IHNet, THNet
from proxyhash.networks.posterior import PosteriorPHNet

__all__ = [
    "NETWORKS",
    "HashingNetwork",
    "IHNet",
    "Network",
    "PosteriorPHNet",
    "THNet",
    "register_network",
]
