"""Searching the gallery of a trained run."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from proxyhash.catalog.ingest import put_codes
from proxyhash.data.run_data import read_run
from proxyhash.errors import ModelError, UsageError
from proxyhash.hashing import model_folder
from proxyhash.index import MemoryIndex
from proxyhash.search.answer import Query
from proxyhash.search.searcher import Searcher

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Modality
    from proxyhash.data.run_data import RunData
    from proxyhash.hashing import HashModel

__all__ = ["RunSearcher"]


class RunSearcher(Searcher):
    """The gallery of one run, in both modalities, and the model that encodes queries.

    The model is loaded when the first text or image is searched for; an item of the collection
    has its codes already.

    Args:
        run: the collection, split and codes of the run.
        device: where the model runs.
    """

    def __init__(self, run: RunData, *, device: str = "cpu") -> None:
        self.run = run
        self.device = device
        self.name = str(run.folder)

    @classmethod
    def open(
        cls, run: str | Path, *, data: str | Path | None = None, device: str = "cpu"
    ) -> RunSearcher:
        """Open a run folder: its collection, its split and its codes.

        Args:
            run: folder written by training.
            data: where the collection lies now, if it was moved since.
            device: where the model runs, once it is needed.

        Raises:
            ModelError: the folder is no finished run, or its parts do not belong together.
            DataError: the collection, the split or the codes cannot be read.
        """
        return cls(read_run(run, data=data), device=device)

    @cached_property
    def model(self) -> HashModel:
        """The run's model, loaded at the first use.

        Raises:
            ModelError: it is not the model that made the run's codes.
        """
        from proxyhash.hashing import HashModel

        model = HashModel.load(model_folder(self.run.folder), device=self.device)
        if self.run.codes.model not in ("", model.fingerprint):
            folder = self.run.folder
            raise ModelError(
                f"{folder / 'codes.npz'} was made by another model than {folder / 'model'}, so "
                "their distances mean nothing; train the run again"
            )
        return model

    @cached_property
    def index(self) -> MemoryIndex:
        """The gallery."""
        codes = self.run.codes
        index = MemoryIndex(bits=codes.bits, model=codes.model, modalities=("image", "text"))
        put_codes(index.add, codes, self.run.split.gallery, payload_of=self._payload)
        return index

    def query_of(self, id: str) -> Query:  # noqa: A002
        """Return the query that an item of the collection is, gallery or not; see `Searcher`."""
        collection, codes = self.run.collection, self.run.codes
        row = collection.positions.get(id)
        if row is None:
            raise UsageError(
                f"{collection.path} has no item {id!r}; its ids look like {collection.ids[0]!r}"
            )
        modality: Modality = "image" if codes.has_image[row] else "text"
        return Query(
            modality,
            codes.of(modality)[row],
            text=collection.items[row].text,
            image=collection.image_paths[row],
            id=id,
        )

    def _payload(self, row: int) -> dict[str, object]:
        item = self.run.collection.items[row]
        path = self.run.collection.image_paths[row]
        return {
            "text": item.text,
            "image": str(path) if path else None,
            "labels": list(item.labels),
        }
