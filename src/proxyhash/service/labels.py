"""The most frequent labels of an index, to choose filters from."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from proxyhash.errors import ProxyhashError, StoppedError
from proxyhash.stopping import Stop, stoppable

if TYPE_CHECKING:
    from proxyhash.index import Index

__all__ = ["Labels"]

_LOG = logging.getLogger("proxyhash.service")
_MOST = 200
_FIELD = "labels"
_SAMPLE = 50_000
_BATCH = 500
_PATIENCE = 0.2
_REST = 0.001  # without it, nobody else would get the store between two parts


class Labels:
    """The most frequent values of the payload's `labels`.

    An index that can count is counted again when it has changed. Of another, such as one on a
    server, the first items are counted, once: all of them would have to come over the network.

    Args:
        index: whose items are counted.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._counts: list[dict[str, Any]] = []
        self._counted: object = None
        self._closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="labels")
        self._counting = self._thread.submit(self._count)

    async def latest(self) -> list[dict[str, Any]]:
        """Return names and counts, the most frequent first; older ones while counting takes long.

        Counting goes on meanwhile, so a later call has them.
        """
        if self._counting.done():
            self._counting = self._thread.submit(self._count)
        await asyncio.wait([asyncio.wrap_future(self._counting)], timeout=_PATIENCE)
        return self._counts

    async def close(self) -> None:
        """Stop counting."""
        self._closing = True
        await asyncio.to_thread(self._thread.shutdown)

    def _count(self) -> None:
        """Count, unless nothing changed since."""
        index = self._index
        try:
            now = index.changes if index.supports("changes") else "once"
            if now == self._counted:
                return
            members = self._all() if index.supports("count_values") else self._sample()
        except StoppedError:
            return
        except ProxyhashError as error:
            _LOG.warning("the labels were not counted", extra={"error": str(error)})
            return
        named = [(name, count) for name, count in members if isinstance(name, str) and count]
        named.sort(key=lambda pair: (-pair[1], pair[0]))
        self._counts = [{"name": name, "count": count} for name, count in named[:_MOST]]
        self._counted = now

    def _all(self) -> list[tuple[object, int]]:
        with stoppable(Stop(unwanted=lambda: self._closing)):
            while not self._closing:
                members = self._index.count_values(_FIELD)
                if members is not None:
                    return members
                time.sleep(_REST)
        return []

    def _sample(self) -> list[tuple[object, int]]:
        counts: Counter[object] = Counter()
        seen = 0
        for batch in self._index.items(batch=_BATCH):
            for item in batch:
                labels = item.payload.get(_FIELD)
                if isinstance(labels, list):
                    counts.update({label for label in labels if isinstance(label, str)})
            seen += len(batch)
            if seen >= _SAMPLE or self._closing:
                break
        return list(counts.items())
