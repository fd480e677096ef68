"""Search: one `Index` interface, an index in memory behind it, and filters on payloads."""

from proxyhash.index.base import Index
from proxyhash.index.filter_text import parse_filter_text
from proxyhash.index.filters import parse_filter
from proxyhash.index.hit import Hit, IndexItem
from proxyhash.index.memory import MemoryIndex

__all__ = ["Hit", "Index", "IndexItem", "MemoryIndex", "parse_filter", "parse_filter_text"]
