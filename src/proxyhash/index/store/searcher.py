"""The engine of one modality, kept up with the rows of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.index.engines.scan import ScanEngine

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines import Matches
    from proxyhash.index.store.row_log import RowLog
    from proxyhash.index.store.rows import Rows

__all__ = ["Searcher"]


class Searcher:
    """Finds rows of one modality; the engine is made when the first search comes.

    Args:
        codes: the log of the modality's codes.
        bits: the code length.
        folder: where the engine is saved, if it is.
    """

    def __init__(self, codes: RowLog, *, bits: int, folder: Path) -> None:
        self._codes = codes
        self._bits = bits
        self._folder = folder

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
        codes = self._codes.map(rows.count)
        engine = ScanEngine.build(codes, bits=self._bits, order=rows.order)
        return engine.search(query, k=k, radius=radius, mask=mask)

    def save(self, rows: Rows) -> None:
        """Write the search structure beside the codes."""

    @property
    def name(self) -> str:
        """What searches."""
        return ScanEngine.name
