"""Networks that turn features into bits: hashing networks, and PHNet, which learns proxies."""

from __future__ import annotations

from proxyhash.networks.hashing_network import HashingNetwork, IHNet, THNet
from proxyhash.networks.posterior import PosteriorPHNet

__all__ = ["HashingNetwork", "IHNet", "PosteriorPHNet", "THNet"]
