"""Networks, proxies and the model that holds them together.

A model hashes images and texts into codes of K bits: `HashModel` is what training leaves behind.
Proxies are the binary codes of the categories that training aims at.
"""

from __future__ import annotations

from proxyhash.hashing.affinity import affinity_proxies
from proxyhash.hashing.assignment import assign_by_cooccurrence
from proxyhash.hashing.codebooks import hadamard_codebook, make_codebook, search_codebook
from proxyhash.hashing.model import HashModel
from proxyhash.hashing.networks import HashingNetwork, IHNet, THNet
from proxyhash.hashing.phnet import PHNet, learn_phnet
from proxyhash.hashing.proxies import Proxies

__all__ = [
    "HashModel",
    "HashingNetwork",
    "IHNet",
    "PHNet",
    "Proxies",
    "THNet",
    "affinity_proxies",
    "assign_by_cooccurrence",
    "hadamard_codebook",
    "learn_phnet",
    "make_codebook",
    "search_codebook",
]
