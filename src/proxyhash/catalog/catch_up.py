"""An index of new codes follows an index of old ones, item by item, while that one changes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.catalog.item_keys import key_of_stored
from proxyhash.errors import DataError
from proxyhash.index.hit import stacked_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.catalog.item_keys import ItemKeys
    from proxyhash.catalog.reencode import Lacking, Reencoder
    from proxyhash.index import IndexItem
    from proxyhash.index.store import Store
    from proxyhash.progress import Track

__all__ = ["AT_ONCE", "CatchUp"]

AT_ONCE = 512
"""Items that are read, encoded and stored together; a kill loses at most as many."""

_NAMED = 5


@dataclass
class CatchUp:
    """Encodes what is not encoded yet, and counts it.

    Attributes:
        done: digests of the old and the new item, of all that are encoded whole.
        encoder: makes the new codes.
        track: progress callback.
        encoded: how many were, also those that changed meanwhile.
        resumed: how many an earlier process had encoded.
        lacking: by id, the items that lack a code.
        tried: digests of those; where one changes, the item is tried again.
        seen: `changes` of the old index when all of it was last looked at.
    """

    done: ItemKeys
    encoder: Reencoder
    track: Track
    encoded: int = 0
    resumed: int = 0
    lacking: dict[str, Lacking] = field(default_factory=dict)
    tried: dict[str, bytes] = field(default_factory=dict)
    seen: object = None

    def run(self, old: Store, new: Store) -> int:
        """Bring `new` to what `old` holds, and return how many items were encoded for it."""
        first, changes = self.seen is None, old.changes
        todo: list[tuple[IndexItem, bytes]] = []
        count = expected = 0

        def steps() -> Iterator[IndexItem]:
            nonlocal count, expected
            for item, digest, is_done in self.read(old):
                if self.tried.get(item.id) == digest:
                    expected += self.lacking[item.id].kept
                elif is_done:
                    self.resumed += first
                    expected += 1
                else:
                    todo.append((item, digest))
                    count += 1
                if len(todo) >= AT_ONCE:
                    expected += self._store(new, todo)
                yield item

        what = "re-encoding items" if first else "taking in changes"
        deque(self.track(steps(), what, len(old)), maxlen=0)
        expected += self._store(new, todo)
        self.seen = changes
        if len(new) != expected:
            self._remove_gone(old, new)
            if len(new) < expected and old.changes == changes:  # of another index than this one
                self.done.path.unlink(missing_ok=True)
                self.lacking.clear()
                self.tried.clear()
                self.seen = ()
        return count

    def count_changed(self, old: Store, *, most: int) -> int:
        """Return how many items are to be encoded, at most `most`."""
        if old.changes == self.seen:
            return 0
        todo = (
            item
            for item, digest, is_done in self.read(old)
            if not is_done and self.tried.get(item.id) != digest
        )
        return sum(1 for _ in islice(todo, most))

    def find_lacking(self, old: Store) -> int:
        """Find the items that will lack a code because a file is missing; return how many are left.

        Nothing is encoded for that; `run` does not try what was found.
        """
        todo: list[tuple[IndexItem, bytes]] = []
        left = 0
        steps = self.track(self.read(old), "looking for files", len(old))
        for item, digest, is_done in steps:
            if not is_done:
                todo.append((item, digest))
            if len(todo) >= AT_ONCE:
                left += self._look(todo)
        return left + self._look(todo)

    def read(self, old: Store) -> Iterator[tuple[IndexItem, bytes, bool]]:
        """Yield stored items, each with its digest and whether it is encoded."""
        for some in old.items(batch=AT_ONCE):
            known = self.done.get_many([item.id for item in some])
            for item in some:
                digest = key_of_stored(item)
                yield item, digest, known.get(item.id, (b"",))[0] == digest

    def named(self) -> list[str]:
        """Return ids and reasons of the first items that lack a code."""
        some = islice(self.lacking.items(), _NAMED)
        return [f"{id_!r:.80}: {item.reason}" for id_, item in some]

    def refuse(self, old: Store) -> None:
        """Refuse to go on without items.

        Raises:
            DataError: names some of them.
        """
        if not (count := len(self.lacking)):
            return
        named = "\n".join(self.named()) + ("\n..." if count > _NAMED else "")
        raise DataError(
            f"{count:,} item{'s' if count > 1 else ''} of {old.folder} cannot be encoded again; "
            "the index is as it was, and what is encoded by now is kept. Put the files back, say "
            "where they are with --data, or leave those items out with --on-bad-item skip; then "
            f"run again:\n{named}"
        )

    def _look(self, todo: list[tuple[IndexItem, bytes]]) -> int:
        count, found = len(todo), self.encoder.find_lacking([item for item, _ in todo])
        for item, digest in todo:
            if (missing := found.get(item.id)) is not None:
                self.lacking[item.id], self.tried[item.id] = missing, digest
        todo.clear()
        return count

    def _store(self, new: Store, todo: list[tuple[IndexItem, bytes]]) -> int:
        """Encode items, store and record them, and return how many are stored."""
        if not todo:
            return 0
        digests = {item.id: digest for item, digest in todo}
        found = self.encoder.encode([item for item, _ in todo])
        todo.clear()
        stored = {item.id: item for item in found.items}
        groups: dict[tuple[str, ...], list[IndexItem]] = {}
        for item in found.items:
            groups.setdefault(tuple(item.codes), []).append(item)
        for names, items in groups.items():
            new.upsert(
                [item.id for item in items],
                {name: np.stack([item.codes[name] for item in items]) for name in names},
                payloads=[item.payload for item in items],
                weights=stacked_weights(items) if new.vectors else None,
            )
        for id_, digest in digests.items():
            self._forget(id_)
            if (missing := found.lacking.get(id_)) is not None:
                self.lacking[id_], self.tried[id_] = missing, digest
        self.done.put(
            {
                id_: (digests[id_], key_of_stored(item))
                for id_, item in stored.items()
                if id_ not in found.lacking
            }
        )
        self.encoded += len(stored)
        return len(stored)

    def _remove_gone(self, old: Store, new: Store) -> None:
        """Remove what the index does not have any more, or what has no code now."""
        for some in new.items(batch=AT_ONCE):
            there = old.get_many([item.id for item in some])
            lost = {item.id for item in some if item.id in self.lacking}
            lost = {id_ for id_ in lost if not self.lacking[id_].kept}
            gone = [item.id for item in some if item.id not in there or item.id in lost]
            if gone:
                new.delete(gone)
                self.done.delete(gone)
        for id_ in [id_ for id_ in self.lacking if id_ not in old]:
            self._forget(id_)

    def _forget(self, id_: str) -> None:
        self.lacking.pop(id_, None)
        self.tried.pop(id_, None)
