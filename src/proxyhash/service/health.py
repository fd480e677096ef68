"""Whether a service can do its work, found out by doing some of it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes import code_bytes
from proxyhash.service.errors import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.service.snapshot import Snapshot

__all__ = ["Health"]

_LOG = logging.getLogger("proxyhash.service")
_FRESH = 2.0  # seconds that a result counts, so that asking often costs nothing
_PATIENCE = 5.0
_LITTLE_SPACE = 50_000_000

_NO_SEARCH = "the index cannot be searched; the service's log says why"
_NO_THUMBNAILS = "thumbnails cannot be read, so pages show none; the service's log says why"
_NO_STORING = "the last change could not be stored; the service's log says why"
_NO_SPACE = "the disk of the index is nearly full; changes will be refused"
_NO_RELOAD = "the last reload failed, so what was there before is served; the log says why"


class Health:
    """Faults of a service; the sentences name no files, for everybody may read them.

    Args:
        folder: of the index, where changes are stored; None where it is elsewhere, or only read.

    Attributes:
        storing_failed: whether the last change could not be stored.
        reload_failed: whether the last reload failed.
    """

    def __init__(self, folder: Path | None) -> None:
        self.storing_failed = False
        self.reload_failed = False
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._checking: asyncio.Future[tuple[bool, list[str]]] | None = None
        self._checked: tuple[float, Snapshot] | None = None
        self._said: set[str] = set()

    async def warnings(self, snapshot: Snapshot) -> list[str]:
        """Return what is wrong although searches are answered.

        Raises:
            ApiError: 503, they are not.
        """
        now = time.monotonic()
        old = self._checked is None or self._checked[1] is not snapshot
        if self._checking is None or (
            self._checking.done()
            and (old or self._checked is None or now - self._checked[0] > _FRESH)
        ):
            loop = asyncio.get_running_loop()
            self._checking = loop.run_in_executor(self._thread, self._check, snapshot)
            self._checked = (now, snapshot)
        await asyncio.wait([self._checking], timeout=_PATIENCE)
        well, found = self._checking.result() if self._checking.done() else (False, [])
        if not well:
            raise ApiError(503, "not_ready", _NO_SEARCH, headers={"Retry-After": "5"})
        if self.storing_failed:
            found = [*found, _NO_STORING]
        return [*found, _NO_RELOAD] if self.reload_failed else found

    async def close(self) -> None:
        """End the thread."""
        await asyncio.to_thread(self._thread.shutdown)

    def _check(self, snapshot: Snapshot) -> tuple[bool, list[str]]:
        """Return whether the index can be searched, and what else is wrong."""
        index = snapshot.index
        found = []
        try:
            nothing = np.zeros((1, code_bytes(index.bits)), np.uint8)
            index.search(nothing, k=1, modality=index.modalities[0])
        except Exception as error:  # whatever it is, no search is answered
            self._say(_NO_SEARCH, error)
            return False, []
        if snapshot.thumbnails is not None and (problem := snapshot.thumbnails.problem()):
            self._say(_NO_THUMBNAILS, problem)
            found.append(_NO_THUMBNAILS)
        if self._folder is not None:
            try:
                free = shutil.disk_usage(self._folder).free
            except OSError as error:
                self._say(_NO_SPACE, error)
                free = 0
            if free < _LITTLE_SPACE:
                found.append(_NO_SPACE)
        self._said &= set(found)
        return True, found

    def _say(self, sentence: str, reason: object) -> None:
        """Log a problem when it begins."""
        if sentence not in self._said:
            self._said.add(sentence)
            _LOG.error("not well", extra={"problem": sentence, "error": str(reason)})
