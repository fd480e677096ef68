"""The trained model: per modality an encoder and a hashing network, with proxies, in one folder."""

from __future__ import annotations

from proxyhash.hashing.model import HashModel

__all__ = ["HashModel"]
