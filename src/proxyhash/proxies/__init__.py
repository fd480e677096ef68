"""Proxies: one binary code per class as a target for training, from a codebook or learned."""

from __future__ import annotations

from proxyhash.proxies.affinity import affinity_proxies
from proxyhash.proxies.assignment import assign_by_cooccurrence
from proxyhash.proxies.codebooks import hadamard_codebook, make_codebook, search_codebook
from proxyhash.proxies.proxies import Proxies

__all__ = [
    "Proxies",
    "affinity_proxies",
    "assign_by_cooccurrence",
    "hadamard_codebook",
    "make_codebook",
    "search_codebook",
]
