"""The engine of one modality: built, saved with checksums, and kept up with the rows of a store."""

from __future__ import annotations

import logging
import zlib
from typing import TYPE_CHECKING

from proxyhash.errors import DataError
from proxyhash.files import read_json, write_json
from proxyhash.index.engines.segmented.engine import SegmentedEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines import Matches
    from proxyhash.index.store.row_log import RowLog
    from proxyhash.index.store.row_table import RowTable

__all__ = ["ModalityEngine", "find_damaged"]

_NOTE = "files.json"
_CHUNK = 1 << 20

_log = logging.getLogger(__name__)


class ModalityEngine:
    """The engine over the codes of one modality, loaded or built when the first search comes.

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
        rows: RowTable,
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

    def save(self, rows: RowTable) -> None:
        """Build the engine and write it beside the codes."""
        self._folder.mkdir(parents=True)
        engine = self._build(rows)
        if not engine.segments:
            engine.compact()
        engine.save(self._folder)
        _note_files(self._folder)

    def info(self) -> dict[str, object]:
        """Return the engine's name and segments, for people to read."""
        engine = self._engine
        return {
            "engine": self._name,
            "saved": self._folder.is_dir(),
            "segments": None if engine is None else list(engine.segments),
        }

    def _build(self, rows: RowTable) -> SegmentedEngine:
        codes = self._codes.map(rows.count)
        return SegmentedEngine.build(
            codes, bits=self._bits, order=rows.order, engine=self._name, background=True
        )

    def _load(self, rows: RowTable) -> SegmentedEngine | None:
        """Return the saved engine with what came since, None where it cannot be used."""
        if not self._folder.is_dir():
            return None
        try:
            _check_sizes(self._folder)
            codes = self._codes.map(rows.count)
            engine = SegmentedEngine.load(self._folder, codes, order=rows.order)
        except DataError as error:
            _log.warning("%s; rebuilding the search structure", error)
            return None
        return engine if engine.engine == self._name else None


def _note_files(folder: Path) -> None:
    """Write the size and the checksum of every file in a folder into a file there."""
    noted = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, _checksum(path)]
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / _NOTE, noted)


def _check_sizes(folder: Path) -> None:
    """Refuse a folder whose files are not as long as they were, before they are mapped.

    Raises:
        DataError: "FILE has 7 bytes, not 9".
    """
    for path, size, _ in _noted(folder):
        there = path.stat().st_size if path.is_file() else 0
        if there != size:
            raise DataError(f"{path} has {there} bytes, not {size}")


def find_damaged(folder: Path) -> list[str]:
    """Return the problems found in a folder of saved search structures, one sentence each."""
    try:
        _check_sizes(folder)
        return [
            f"{path}: the checksum does not match; `proxyhash index compact` rebuilds it"
            for path, _, checksum in _noted(folder)
            if _checksum(path) != checksum
        ]
    except DataError as error:
        return [f"{error}; `proxyhash index compact` rebuilds it"]


def _noted(folder: Path) -> Iterator[tuple[Path, int, int]]:
    path = folder / _NOTE
    noted = read_json(path)
    if not isinstance(noted, dict):
        raise DataError(f"{path} is damaged")
    for name, entry in noted.items():
        match entry:
            case [int(size), int(checksum)]:
                yield folder / name, size, checksum
            case _:
                raise DataError(f"{path} is damaged")


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
