"""Search: one `Index` interface and an exact index in memory behind it."""

from proxyhash.index.base import Index
from proxyhash.index.exact import ExactIndex
from proxyhash.index.hit import Hit

__all__ = ["ExactIndex", "Hit", "Index"]
