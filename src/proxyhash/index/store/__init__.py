"""The durable index: a folder of memory-mapped codes beside a SQLite database."""

from proxyhash.index.store.store import Store

__all__ = ["Store"]
