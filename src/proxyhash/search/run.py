"""The gallery of a trained run as something to search."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.catalog.ingest import item_payload, put_codes
from proxyhash.data.run_data import read_run
from proxyhash.errors import DataError, ModelError
from proxyhash.hashing import model_folder
from proxyhash.index import IndexItem, MemoryIndex
from proxyhash.search.query import NotFoundError
from proxyhash.search.searcher import Searcher

if TYPE_CHECKING:
    from typing import Self

    from proxyhash.data.run_data import RunData
    from proxyhash.hashing import HashModel

__all__ = ["RunSearcher"]

logger = logging.getLogger(__name__)


class RunSearcher(Searcher):
    """The gallery of one run in memory, and the model that encodes queries.

    Every item of the collection can ask, also one that is not in the gallery.

    Args:
        run: the collection, split and codes of the run.
        device: where the model runs.
    """

    def __init__(self, run: RunData, *, device: str = "cpu") -> None:
        self.run = run
        codes = run.codes
        index = MemoryIndex(bits=codes.bits, model=codes.model, modalities=codes.modalities)
        put_codes(index.add, codes, run.split.gallery, payload_of=self._payload)
        super().__init__(index, name=str(run.folder), model=run.folder, device=device)

    @classmethod
    def open(  # type: ignore[override]
        cls, run: str | Path, *, data: str | Path | None = None, device: str = "cpu"
    ) -> Self:
        """Open a run folder: its collection, its split and its codes.

        Args:
            run: folder written by training.
            data: where the collection is now, if it was moved since.
            device: where the model runs, once it is needed.

        Raises:
            ModelError: the folder is not a finished run, or its parts do not belong together.
            DataError: the collection, the split or the codes cannot be read.
        """
        return cls(read_run(run, data=data), device=device)

    @property
    def stored_images(self) -> None:
        """None: items name paths of images, which are opened."""
        return

    def item(self, id: str) -> IndexItem:  # noqa: A002 -- the index's word
        """Return an item of the collection with its codes, gallery or not.

        Raises:
            NotFoundError: "DATA has no item 'x'; its ids look like 'y'".
        """
        collection, codes = self.run.collection, self.run.codes
        row = collection.positions.get(id)
        if row is None:
            raise NotFoundError(
                f"{collection.path} has no item {id!r:.80}; its ids look like "
                f"{collection.ids[0]!r:.80}"
            )
        own = {name: codes.of(name)[row] for name in codes.modalities if codes.has(name)[row]}
        return IndexItem(id, own, self._payload(row))

    def holds(self, id: str) -> bool:  # noqa: A002
        """Whether an item of the collection is in the gallery."""
        return id in self.index

    def _payload(self, row: int) -> dict[str, object]:
        """Return what hits have of an item: as in an index, but files by absolute path."""
        collection = self.run.collection
        files = {
            name: str(path)
            for name in collection.modalities
            if isinstance(path := collection.sources(name)[row], Path)
        }
        item = collection.items[row]
        try:
            return item_payload(item, collection) | files
        except DataError as error:  # training took it, so it must be found
            logger.warning("%s; its further keys are left out", error)
            return item_payload(replace(item, payload={}), collection) | files

    def _load(self, given: HashModel | Path | str) -> HashModel:
        from proxyhash.hashing import HashModel

        del given
        folder = self.run.folder
        model = HashModel.load(model_folder(folder), device=self.device)
        if self.run.codes.model not in ("", model.fingerprint):
            raise ModelError(
                f"{folder / 'codes.npz'} was made by another model than {folder / 'model'}, so "
                "their distances mean nothing; train the run again"
            )
        return model
