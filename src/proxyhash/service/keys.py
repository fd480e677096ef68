"""API keys: generated here, stored as hashes, compared in constant time.

A key is 256 random bits, so a plain SHA-256 of it cannot be turned back by guessing, unlike that of
a password. The file is JSON: {"keys": [{"name", "scope", "sha256", "created"}]}.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxyhash.errors import DataError, UsageError, check_option
from proxyhash.files import read_json, write_atomic

__all__ = ["SCOPES", "Key", "KeyFile"]

SCOPES = ("read", "write")
"""What a key may do; "write" includes "read"."""

_PREFIX = "phk_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """One key as the file has it: its hash, never the key.

    Attributes:
        name: who has it; logs show it.
        scope: "read" or "write".
        sha256: hex hash of the key.
        created: when, in UTC.
    """

    name: str
    scope: str
    sha256: str
    created: str

    def allows(self, scope: str) -> bool:
        """Whether the key has a scope."""
        return scope == "read" or self.scope == "write"


class KeyFile:
    """The keys of a service, as they were when the file was read.

    Args:
        path: the file, which only its owner can read.
        keys: what is in it.
    """

    def __init__(self, path: Path, keys: tuple[Key, ...] = ()) -> None:
        self.path = path
        self.keys = keys

    @classmethod
    def read(cls, path: str | Path) -> KeyFile:
        """Read a file of keys.

        Raises:
            DataError: it is missing, or holds something else.
        """
        path = Path(path)
        content = read_json(path)
        rows = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise DataError(
                f"{path} has no list of keys; make one with `proxyhash keys add {path} NAME`"
            )
        return cls(path, tuple(_key(row, path) for row in rows))

    def add(self, name: str, *, scope: str = "read") -> tuple[KeyFile, str]:
        """Make a key.

        Returns:
            the keys with the new one, written to the file, and the key itself, which is kept
            nowhere.

        Raises:
            UsageError: the name is taken or invalid; the scope is unknown.
        """
        check_option("scope", scope, SCOPES)
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is not a valid key name; use up to 64 letters, digits and . _ -"
            )
        if any(key.name == name for key in self.keys):
            raise UsageError(
                f"{self.path} has a key {name!r} already; revoke it with "
                f"`proxyhash keys remove {self.path} {name}`, or choose another name"
            )
        secret = _PREFIX + secrets.token_urlsafe(32)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        keys = KeyFile(self.path, (*self.keys, Key(name, scope, _hash(secret), created)))
        keys._write()
        return keys, secret

    def remove(self, name: str) -> KeyFile:
        """Return the keys without one, and write them.

        Raises:
            UsageError: there is no key of this name.
        """
        left = tuple(key for key in self.keys if key.name != name)
        if len(left) == len(self.keys):
            known = ", ".join(key.name for key in self.keys) or "none"
            raise UsageError(f"{self.path} has no key {name!r}; it has {known}")
        keys = KeyFile(self.path, left)
        keys._write()
        return keys

    def find(self, secret: str) -> Key | None:
        """Return the key that a client showed, or None; takes the same time for either."""
        given = _hash(secret)
        found: Key | None = None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def _write(self) -> None:
        text = json.dumps({"keys": [asdict(key) for key in self.keys]}, indent=2) + "\n"
        with write_atomic(self.path, private=True) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: Any, path: Path) -> Key:
    try:
        key = Key(**row)
    except TypeError:
        raise DataError(f"{path} holds {row!r:.60}, which is not a key; make a new file") from None
    fits = all(isinstance(value, str) for value in asdict(key).values())
    if not fits or key.scope not in SCOPES or not _HASH.fullmatch(key.sha256):
        raise DataError(
            f"{path}: the key {str(key.name)!r:.60} needs a scope (read or write) and a sha256; "
            "add it again"
        )
    return key
