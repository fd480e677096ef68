"""Search: one `Index` interface, backends by URI, engines, and filters on payloads."""

from proxyhash.index.base import Index
from proxyhash.index.fields import FieldKind, Fields
from proxyhash.index.filter_text import parse_filter_text
from proxyhash.index.filters import parse_filter
from proxyhash.index.hit import Hit, IndexItem
from proxyhash.index.memory import MemoryIndex
from proxyhash.index.open import INDEXES, create_index, index_exists, open_index, register_index

__all__ = [
    "INDEXES",
    "FieldKind",
    "Fields",
    "Hit",
    "Index",
    "IndexItem",
    "MemoryIndex",
    "create_index",
    "index_exists",
    "open_index",
    "parse_filter",
    "parse_filter_text",
    "register_index",
]
