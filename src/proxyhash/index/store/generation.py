"""One generation of an index's data: a folder with the database and the row logs, opened."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes import Codes, code_bytes, distances
from proxyhash.codes.vectors import vector_dtype, weights_of_vectors
from proxyhash.index.hit import Hit, IndexItem
from proxyhash.index.second_look import look_again
from proxyhash.index.store import database
from proxyhash.index.store.column_cache import Columns
from proxyhash.index.store.content import as_id, as_payload, content_errors, read_state
from proxyhash.index.store.modality_engine import ModalityEngine
from proxyhash.index.store.row_log import RowLog
from proxyhash.index.store.row_table import RowTable
from proxyhash.index.store.word_index import WordIndex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from proxyhash.index.engines import Matches
    from proxyhash.index.fields import Fields
    from proxyhash.index.filters import Filter
    from proxyhash.index.second_look import SecondLook
    from proxyhash.index.store.header import Header

__all__ = ["Generation", "database_path"]


def database_path(folder: Path) -> Path:
    """Return the path of a generation's database."""
    return folder / "items.sqlite"


class Generation:
    """The data of an index, opened; everything but `close` is called within `transaction`.

    Args:
        folder: the generation's folder.
        header: what the index is.
        write: whether items will be written.
        engine: name of the engine that searches.

    Attributes:
        salvaged: whether damaged rows are skipped.

    Raises:
        DataError: a file is missing, damaged or too short.
    """

    def __init__(self, folder: Path, header: Header, *, write: bool, engine: str = "auto") -> None:
        self.folder = folder
        self.header = header
        self.engine = engine
        self.path = database_path(folder)
        self.salvaged = False
        self.codes: dict[str, RowLog] = {}
        self.vectors: dict[str, RowLog] = {}
        with ExitStack() as files:
            self.database = database.connect(self.path, write=write)
            files.callback(self.database.close)
            self.order = RowLog(folder / "order.rows", dtype=np.uint64, width=1, write=write)
            files.callback(self.order.close)
            width = code_bytes(header.bits)
            for name in header.modalities:
                path = folder / f"{name}.codes"
                self.codes[name] = RowLog(path, dtype=np.uint8, width=width, write=write)
                files.callback(self.codes[name].close)
            if header.vectors is not None:
                dtype = vector_dtype(header.vectors)
                for name in header.modalities:
                    path = folder / f"{name}.vectors"
                    log = RowLog(path, dtype=dtype, width=header.bits, write=write)
                    self.vectors[name] = log
                    files.callback(log.close)
            if write:
                self.database.execute(
                    "CREATE TEMP TABLE batch (place INTEGER PRIMARY KEY, id TEXT)"
                )
            self.words = WordIndex(folder, write=write)
            files.callback(self.words.close)
            self._files = files.pop_all()
        self.rows = RowTable(header.modalities, self.order)
        self.columns = Columns()
        self.engines = {
            name: ModalityEngine(
                log, bits=header.bits, folder=folder / "engines" / name, engine=engine
            )
            for name, log in self.codes.items()
        }

    @classmethod
    def create(cls, folder: Path, header: Header) -> None:
        """Create the files of an empty generation."""
        folder.mkdir()
        database.create(database_path(folder))
        generation = cls(folder, header, write=True)
        with database.transaction(generation.database, generation.path, write=True):
            content = json.dumps(header.as_json())
            generation.database.execute("INSERT INTO header VALUES (?)", (content,))
        generation.close()

    @property
    def logs(self) -> list[RowLog]:
        """The row logs: of codes and kept vectors for every modality, and the ranks'."""
        return [*self.codes.values(), *self.vectors.values(), self.order]

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def transaction(self, *, write: bool = False) -> Any:
        """Return a context in which the database stays as it is for others, or all of it counts."""
        return database.transaction(self.database, self.path, write=write)

    def refresh(self) -> None:
        """Load what was committed."""
        self.rows.refresh(self.database)

    def check(self) -> None:
        """Load what was committed, and refuse files that hold less.

        Raises:
            DataError: "FILE ends after row 7 of 9; ...".
        """
        _, count, _ = read_state(self.database, self.path)
        for log in self.logs:
            log.check(count)
        self.refresh()

    def roll_back(self) -> None:
        """Drop what a writer that died appended without committing; only the writer may."""
        for log in self.logs:
            log.cut(self.rows.count)

    def has(self, id_: str) -> bool:
        """Whether something is stored under this id."""
        found = self.database.execute("SELECT 1 FROM items WHERE id = ?", (id_,))
        return found.fetchone() is not None

    def info(self) -> dict[str, object]:
        """Return counts, engines and sizes, for people to read."""
        rows = self.rows
        return {
            "items": rows.items,
            "modalities": {name: rows.have(name) for name in rows.modalities},
            "deleted_rows": rows.count - rows.items,
            "vectors": self.header.vectors,
            "bytes_per_item": {
                "codes": code_bytes(self.header.bits),
                "vectors": sum(log.row_bytes for log in self.vectors.values())
                // len(rows.modalities),
            },
            "engines": {name: engine.info() for name, engine in self.engines.items()},
            "bytes": sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
            "generation": self.header.generation,
            "created": self.header.created,
        }

    def present(self, ids: Sequence[str]) -> list[IndexItem]:
        """Return the items under those of the ids that are there."""
        wanted = json.dumps(list(ids))
        self.database.allow_more(1_000 * len(ids))
        found = self.database.execute(
            "SELECT row, id, payload FROM items WHERE id IN (SELECT value FROM json_each(?))",
            (wanted,),
        )
        return self.as_items(found.fetchall())

    def after(self, id_: str, count: int) -> list[IndexItem]:
        """Return the items with the next larger ids."""
        found = self.database.execute(
            "SELECT row, id, payload FROM items WHERE id > ? ORDER BY id LIMIT ?", (id_, count)
        )
        return self.as_items(found.fetchall())

    def as_items(self, found: Sequence[tuple[int, str, str]]) -> list[IndexItem]:
        """Return items of the rows, ids and payloads that the database gave."""
        with content_errors(self.path):
            return self._as_items(found)

    def _as_items(self, found: Sequence[tuple[int, str, str]]) -> list[IndexItem]:
        rows = np.array([row for row, _, _ in found], np.int64)
        codes = {name: self.gather(name, rows) for name in self.codes}
        weights = {
            name: weights_of_vectors(log.map(self.rows.count)[rows])
            for name, log in self.vectors.items()
        }
        has = {name: self.rows.visible(name)[rows].tolist() for name in self.codes}
        return [
            IndexItem(
                as_id(id_),
                {name: codes[name][place] for name in codes if has[name][place]},
                as_payload(payload),
                {name: weights[name][place] for name in weights if has[name][place]},
            )
            for place, (_, id_, payload) in enumerate(found)
        ]

    def gather(self, modality: str, rows: npt.NDArray[np.int64]) -> Codes:
        """Return a copy of the codes in some rows."""
        codes: Codes = self.codes[modality].map(self.rows.count)[rows]
        return codes

    def search(
        self,
        query: Codes,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        """Return the nearest items of each query."""
        rows = self.rows
        mask = self.mask(modality, filter)
        if not rows.have(modality):
            return [[] for _ in query]
        found = self.engines[modality].search(query, rows, k=k, radius=radius, mask=mask)
        return self.hits(found)

    def look_again(
        self,
        query: Codes,
        look: SecondLook,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        """Return the nearest items of each query by asymmetric or vector distance."""
        rows = self.rows
        mask = self.mask(modality, filter)
        if not rows.have(modality):
            return [[] for _ in query]
        self.codes[modality].check(rows.count)
        found = look_again(
            query,
            look,
            self.codes[modality].map(rows.count),
            partial(self.engines[modality].search, query, rows, mask=mask),
            k=k,
            radius=radius,
            mask=mask,
            order=rows.order,
            vectors=self.vectors[modality].map(rows.count) if look.by == "vectors" else None,
        )
        return self.hits(found)

    def count(self, modality: str, filter: Filter | None) -> int:  # noqa: A002
        """Return how many items a search of a modality compares."""
        mask = self.mask(modality, filter)
        return self.rows.count if mask is None else int(mask.sum())

    def count_values(self, field: str) -> list[tuple[object, int]]:
        """Return the members of the lists in a field, each with how many items have it."""
        return self.columns.count_values(field, alive=self._alive())

    def fields(self) -> Fields:
        """Return the fields of all payloads."""
        return self.columns.fields(alive=self._alive(), change=self.rows.change)

    def _alive(self) -> npt.NDArray[np.bool_]:
        visible = [self.rows.visible(name) for name in self.rows.modalities]
        alive: npt.NDArray[np.bool_] = np.logical_or.reduce(visible)
        return alive

    def count_distances(
        self,
        query: Codes,
        *,
        modality: str,
        filter: Filter | None,  # noqa: A002
    ) -> npt.NDArray[np.int64]:
        """Return how many items lie at distance 0, 1, ..., bits from one code (1, B)."""
        codes = self.codes[modality].map(self.rows.count)
        found = distances(query, codes)[0]
        mask = self.mask(modality, filter)
        seen = found if mask is None else found[mask]
        return np.bincount(seen, minlength=self.header.bits + 1)

    def mask(
        self,
        modality: str,
        filter: Filter | None,  # noqa: A002
    ) -> npt.NDArray[np.bool_] | None:
        """Return which rows a search looks at, None for all."""
        rows = self.rows
        mask = None if rows.have(modality) == rows.count else rows.visible(modality)
        if filter is not None:
            matching = self.columns.matching(filter, rows=rows.count)
            mask = matching if mask is None else matching & mask
        return mask

    def hits(self, found: Matches) -> list[list[Hit]]:
        """Return the items in the rows found for each query."""
        rows = found.rows.tolist()
        wanted = json.dumps(sorted(set(rows)))
        items = {
            row: (id_, payload)
            for row, id_, payload in self.database.execute(
                "SELECT row, id, payload FROM items WHERE row IN (SELECT value FROM json_each(?))",
                (wanted,),
            )
        }
        hits = []
        with content_errors(self.path):
            for row, (distance, *other) in zip(rows, found.triples, strict=True):
                id_, text = items[row]
                payload = json.loads(text)
                if type(id_) is not str or type(payload) is not dict:
                    raise ValueError(f"row {row} holds {id_!r:.60} and {text!r:.60}")
                hits.append(Hit(id_, distance, payload, other[0], other[1]))
        ends = found.offsets.tolist()
        return [hits[start:end] for start, end in pairwise(ends)]
