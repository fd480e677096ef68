"""Saved engines of an index, damaged, with checksums that fit: the scan's answers or a warning."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.files import write_json
from proxyhash.index.engines import ENGINES
from proxyhash.index.engines.auto.costs import Cost
from proxyhash.index.engines.auto.engine import PlannedEngine
from proxyhash.index.engines.segmented.engine import SegmentedEngine
from proxyhash.index.store import Store
from proxyhash.index.store.modality_engine import _note_files
from tests.fuzz.damage import damage_file
from tests.index.engines.reference import draw_codes

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KINDS", "EngineFiles"]

ROWS = 3000
FAR = 11

KINDS = (
    "scan", "multi_index", "multi_index economy", "multi_index 96", "clustered",
    "clustered various", "clustered 96", "auto clustered", "auto multi_index", "faiss_flat",
    "faiss_hnsw", "faiss_ivf",
)  # fmt: skip
"""What is saved: an engine, its settings or the engine that a plan prefers, the bits."""


class EngineFiles:
    """An index in a folder whose saved engine is damaged, case after case.

    Args:
        kind: one of `KINDS`.
        folder: empty; for the index.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        name, _, variant = kind.partition(" ")
        bits = 96 if variant == "96" else 64
        self.engine = name
        self.original, self.folder = folder / "original", folder / "damaged"
        codes = draw_codes(ROWS, bits, 5, kind="random" if variant == "various" else "clustered")
        if variant != "various":
            codes[ROWS // 3 : 2 * ROWS // 3] = codes[: ROWS // 3]
        rng = np.random.default_rng(0)
        ids = [f"{number:05d}" for number in rng.permutation(ROWS)]
        with Store.create(self.original, bits=bits, modalities=("text",), engine="scan") as store:
            store.add(ids, codes)
            store.compact()
        self._save_engine(variant, bits)
        query = np.concatenate([codes[:: ROWS // 12], draw_codes(4, bits, 6)])
        self.query = query
        with Store.open(self.original, engine="scan") as store:
            self.expected = self._ask(store)
        shutil.copytree(self.original, self.folder)
        assert self.open() == "as before"

    def _save_engine(self, variant: str, bits: int) -> None:
        data = self.original / "generation-000002"
        width = bits // 8
        codes = np.fromfile(data / "text.codes", np.uint8).reshape(-1, width)
        order = np.fromfile(data / "order.rows", np.uint64)
        saved = data / "engines" / "text"
        settings: dict[str, Any] = {"economy": True} if variant == "economy" else {}
        for path in saved.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        half = SegmentedEngine.build(
            codes[: ROWS - 700], bits=bits, order=order[: ROWS - 700], engine=self.engine,
            tail_rows=1 << 17, background=True, settings=settings,
        )  # fmt: skip
        half.compact()
        half.save(saved)
        note = saved / "segments.json"
        write_json(note, json.loads(note.read_text()) | {"settings": {}})
        if self.engine == "auto":
            shutil.rmtree(saved / "0")
            (saved / "0").mkdir()
            _prefer(variant, codes[: ROWS - 700], order[: ROWS - 700], bits).save(saved / "0")
        _fit_checksums(saved)

    def _ask(self, store: Store) -> list[Any]:
        return [
            store.search(self.query, k=12),
            store.search(self.query, radius=FAR),
            store.search(self.query, k=200, radius=20),
            *(store.search(one[None], k=7) for one in self.query[:6]),
        ]

    def damage(self, rng: np.random.Generator) -> str:
        """Damage a copy of the index and return how."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.original, self.folder)
        saved = self.folder / "generation-000002" / "engines" / "text"
        files = sorted(path for path in saved.rglob("*") if path.is_file())
        files = [path for path in files if path.name != "files.json" or rng.random() < 0.3]
        chosen = [ROWS - 700, ROWS - 699, ROWS - 701, ROWS, 64, 65, 66, 12]
        path = files[int(rng.integers(0, len(files)))]
        how = damage_file(path, rng, chosen=chosen)
        if path.name != "files.json":
            _fit_checksums(saved)
        return how

    def open(self) -> str:
        """Return how opening and searching the damaged copy went."""
        warnings: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("proxyhash")
        logger.addHandler(handler)
        exact = ENGINES[self.engine].exact
        with Store.open(self.folder, engine=self.engine) as store:
            answers = self._ask(store)
            problems = store.verify()
        if exact:
            assert answers == self.expected, f"answers differ; warned: {warnings}; {problems}"
        if warnings:
            assert problems, f"silence of verify after: {warnings}"
            return "rebuilt with a warning"
        if problems:
            return "used; verify names it"
        return "as before"


def _fit_checksums(saved: Path) -> None:
    (saved / "files.json").unlink(missing_ok=True)
    _note_files(saved)


def _prefer(name: str, codes: Any, order: Any, bits: int) -> PlannedEngine:
    """Return a planned engine that always prefers the one beside the scan."""
    engines = [ENGINES[one].build(codes, bits=bits, order=order) for one in ("scan", name)]
    costs = [
        Cost(engine, queries, k, radius, 1e-3 if engine == "scan" else 1e-9)
        for engine in ("scan", name)
        for queries in (1, 8)
        for k, radius in ((1, None), (10, None), (100, None), (1000, None), (None, 0), (None, 16))
    ]
    return PlannedEngine(engines, costs, f"{name}, for a test")
