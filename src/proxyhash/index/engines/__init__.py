"""Search engines: exact and approximate ways to find the rows nearest to a query."""

from proxyhash.index.engines.base import Engine, Matches
from proxyhash.index.engines.registry import engines, get_engine, register_engine

__all__ = ["Engine", "Matches", "engines", "get_engine", "register_engine"]
