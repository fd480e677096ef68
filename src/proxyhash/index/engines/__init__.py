"""Search engines: exact and approximate ways to find the rows nearest to a query."""

from proxyhash.index.engines.base import ENGINES, Engine, Matches, register_engine

__all__ = ["ENGINES", "Engine", "Matches", "register_engine"]
