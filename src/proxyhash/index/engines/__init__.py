"""Search engines: exact and approximate ways to find the rows nearest to a query."""

from proxyhash.index.engines.base import Engine, Matches

__all__ = ["Engine", "Matches"]
