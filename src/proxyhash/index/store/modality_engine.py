"""The engine of one modality: built, saved with checksums, and kept up with the rows of a store."""

from __future__ import annotations

import logging
import stat
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes.arrays import cut_short
from proxyhash.errors import DataError
from proxyhash.files import open_regular, write_json
from proxyhash.index.engines import ENGINES
from proxyhash.index.engines.saved import check_saved, is_whole, read_settings
from proxyhash.index.engines.scan.engine import ScanEngine
from proxyhash.index.engines.segmented.engine import SegmentedEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.engines import Matches
    from proxyhash.index.store.row_log import RowLog
    from proxyhash.index.store.row_table import RowTable

__all__ = ["ModalityEngine"]

_NOTE = "files.json"
_CHUNK = 1 << 20
_NEXT = "`proxyhash index compact` rebuilds it"
# Queries that `find_problems` compares with a scan: stored codes, and random ones.
_STORED, _RANDOM = 24, 8

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
        """Return the nearest rows that the mask allows.

        Raises:
            DataError: the file of the codes was cut short.
        """
        engine = self._engine
        # Touching a page behind the end of a file would end the process.
        self._codes.check(rows.count)
        if engine is not None and any(map(cut_short, engine.arrays)):
            _log.warning("%s was cut short; rebuilding the search structure", self._folder)
            engine = self._build(rows)
        elif engine is None:
            engine = self._load(rows) or self._build(rows)
        elif engine.count < rows.count:
            engine.extend(self._codes.map(rows.count), order=rows.order)
        self._engine = engine
        return engine.search(query, k=k, radius=radius, mask=mask)

    def save(self, rows: RowTable) -> None:
        """Build the engine and write it beside the codes, if what is read again can be checked."""
        if not getattr(ENGINES[self._name], "checks_saved", False):
            return
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

    def find_problems(
        self, rows: RowTable, *, modality: str, report: Callable[[str], None]
    ) -> Iterator[str]:
        """Check the saved engine, and compare its answers with a scan; yield the problems found.

        Args:
            rows: the rows there are.
            modality: whose codes these are.
            report: is told in a sentence what was compared.
        """
        if not self._folder.is_dir():
            return
        try:
            _check_sizes(self._folder)
            damaged = [
                f"{path}: the checksum does not match; {_NEXT}"
                for path, _, checksum in _noted(self._folder)
                if _checksum(path) != checksum
            ]
            if damaged:
                yield from damaged
                return
            engine = self._read(rows, SegmentedEngine.saved_engine(self._folder))
        except DataError as error:
            yield f"{error}; {_NEXT}"
            return
        if engine is None or not rows.have(modality):
            return
        wrong = self._compare(engine, rows, rows.visible(modality))
        if wrong:
            yield f"{self._folder}: its answers are not those of a scan ({wrong}); {_NEXT}"
        report(
            f"{modality}: the saved engine ({engine.engine}, {engine.count:,} rows) was compared "
            f"with the codes, and its answers to {_STORED} stored and {_RANDOM} random codes, for "
            "10 neighbors and within a radius, with those of a scan"
        )

    def _compare(
        self, engine: SegmentedEngine, rows: RowTable, mask: npt.NDArray[np.bool_]
    ) -> str | None:
        """Return for which search the answers to some queries differ from a scan's, or None."""
        codes = self._codes.map(rows.count)
        rng = np.random.default_rng(0)
        alive = np.flatnonzero(mask)
        stored = codes[np.sort(rng.choice(alive, min(_STORED, len(alive)), replace=False))]
        drawn = rng.integers(0, 256, (_RANDOM, codes.shape[1]), np.uint8)
        if self._bits % 8:
            drawn[:, -1] &= 0xFF ^ (0xFF >> self._bits % 8)
        scan = ScanEngine.build(codes, bits=self._bits, order=rows.order)
        for what, query in (("stored codes", stored), ("random codes", drawn)):
            for k, radius in ((10, None), (100, self._bits // 4), (None, self._bits // 16)):
                found = engine.search(query, k=k, radius=radius, mask=mask)
                expected = scan.search(query, k=k, radius=radius, mask=mask)
                if not (
                    np.array_equal(found.offsets, expected.offsets)
                    and np.array_equal(found.rows, expected.rows)
                    and np.array_equal(found.distances, expected.distances)
                ):
                    return f"for {what}, k {k}, radius {radius}"
        return None

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
            if SegmentedEngine.saved_engine(self._folder) != self._name:
                return None
            return self._read(rows, self._name)
        except DataError as error:
            _log.warning("%s; rebuilding the search structure", error)
            return None

    def _read(self, rows: RowTable, name: str) -> SegmentedEngine | None:
        """Return the saved engine after comparing it with the codes.

        None for one that cannot be checked: earlier versions saved what FAISS's reader trusts.

        Raises:
            DataError: it is damaged, or does not fit the codes.
        """
        known = name in ENGINES
        check_saved(known, self._folder, f"there is no engine {name!r}"[:200])
        if not getattr(ENGINES[name], "checks_saved", False):
            _log.info("%s: each process builds its own engine %s", self._folder, name)
            return None
        codes = self._codes.map(rows.count)
        # Labels of dead rows may have become obsolete; those that were written compare as ever.
        engine = SegmentedEngine.load(self._folder, codes, order=rows.written_order())
        check_saved(engine.bits == self._bits, self._folder, "it is of another code length")
        check_saved(not engine.settings, self._folder, f"its options are {engine.settings}"[:200])
        engine.extend(codes, order=rows.order)
        return engine


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
        try:
            status = path.lstat()
        except OSError:
            there = 0
        else:
            there = status.st_size if stat.S_ISREG(status.st_mode) else 0
        if there != size:
            raise DataError(f"{path} has {there} bytes, not {size}")


def _noted(folder: Path) -> Iterator[tuple[Path, int, int]]:
    path = folder / _NOTE
    for name, entry in read_settings(path).items():
        parts = PurePosixPath(name).parts
        inside = "\0" not in name and parts and not {"/", ".."} & set(parts)
        match entry:
            case [size, checksum] if (
                inside and is_whole(size, 1, 2**60) and is_whole(checksum, 0, 2**32 - 1)
            ):
                yield folder / name, size, checksum
            case _:
                raise DataError(f"{path} is damaged")


def _checksum(path: Path) -> int:
    checksum = 0
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
