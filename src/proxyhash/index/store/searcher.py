"""The engine of one modality, kept up with the rows of a store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from proxyhash.errors import DataError
from proxyhash.index.engines.segmented.engine import SegmentedEngine
from proxyhash.index.store.saved import check_sizes, note_files

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines import Matches
    from proxyhash.index.store.row_log import RowLog
    from proxyhash.index.store.rows import Rows

__all__ = ["Searcher"]

_log = logging.getLogger(__name__)


class Searcher:
    """Finds rows of one modality; its engine is loaded or built when the first search comes.

    Args:
        codes: the log of the modality's codes.
        bits: the code length.
        folder: where the engine is saved, if it is.
        engine: name of the engine that rows are built into.
    """

    def __init__(self, codes: RowLog, *, bits: int, folder: Path, engine: str) -> None:
        self._codes = codes
        self._bits = bits
        self._folder = folder
        self._name = engine
        self._engine: SegmentedEngine | None = None

    def search(
        self,
        query: Codes,
        rows: Rows,
        *,
        k: int | None,
        radius: int | None,
        mask: npt.NDArray[np.bool_] | None,
    ) -> Matches:
        """Return the nearest rows that the mask allows."""
        if self._engine is None:
            self._engine = self._load(rows) or self._build(rows)
        elif self._engine.count < rows.count:
            self._engine.extend(self._codes.map(rows.count), order=rows.order)
        return self._engine.search(query, k=k, radius=radius, mask=mask)

    def save(self, rows: Rows) -> None:
        """Build the engine and write it beside the codes."""
        self._folder.mkdir(parents=True)
        engine = self._build(rows)
        if not engine.segments:
            engine.compact()
        engine.save(self._folder)
        note_files(self._folder)

    def info(self) -> dict[str, object]:
        """Return what searches, for people to read."""
        engine = self._engine
        return {
            "engine": self._name,
            "saved": self._folder.is_dir(),
            "segments": None if engine is None else list(engine.segments),
        }

    def _build(self, rows: Rows) -> SegmentedEngine:
        codes = self._codes.map(rows.count)
        return SegmentedEngine.build(
            codes, bits=self._bits, order=rows.order, engine=self._name, background=True
        )

    def _load(self, rows: Rows) -> SegmentedEngine | None:
        """Return the saved engine with what came since, None where it cannot be used."""
        if not self._folder.is_dir():
            return None
        try:
            check_sizes(self._folder)
            codes = self._codes.map(rows.count)
            engine = SegmentedEngine.load(self._folder, codes, order=rows.order)
        except DataError as error:
            _log.warning("%s; the search structure is built again", error)
            return None
        return engine if engine.engine == self._name else None
