"""Ids as Milvus primary keys that any Milvus can store, compare and find in an expression.

Milvus Lite fails on a quotation mark in a key and finds none with a control character. So these
are escaped, in such a way that keys compare as their ids do: a special character stands behind
the last ordinary one before it, and that one is escaped too. Most ids are their own keys.
"""

from __future__ import annotations

import json
import re

__all__ = ["MAX_KEY_BYTES", "from_key", "quoted", "to_key"]

MAX_KEY_BYTES = 2048
"""Room for 512 characters, escaped or of four bytes each."""

_ESCAPES = {chr(code): f" {code:02x}" for code in range(0x21)} | {
    "!": "!1",
    '"': "!2",
    "&": "&1",
    "'": "&2",
    "[": "[1",
    "\\": "[2",
    "~": "~1",
    "\x7f": "~2",
}
_CHARACTERS = {escaped: character for character, escaped in _ESCAPES.items()}
_SPECIAL = re.compile(r"""[\x00-\x20!"&'\[\\~\x7f]""")
_ESCAPED = re.compile(r" ..|[!&\[~].")


def to_key(id_: str) -> str:
    """Return the primary key of an id.

    Example:
        >>> to_key("img/01.jpg"), to_key("it's")
        ('img/01.jpg', 'it&2s')
    """
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], id_)


def from_key(key: str) -> str:
    """Return the id of a primary key."""
    return _ESCAPED.sub(lambda found: _CHARACTERS[found[0]], key)


def quoted(text: str) -> str:
    """Return a string as it stands in a Milvus expression."""
    return json.dumps(text, ensure_ascii=False)
