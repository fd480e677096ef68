"""Searching an index that was built from a trained run, wherever it lies."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from proxyhash.catalog.folder import IndexFolder
from proxyhash.errors import ModelError, UsageError
from proxyhash.hashing import model_folder
from proxyhash.index.open import open_index, scheme_of
from proxyhash.search.answer import Query
from proxyhash.search.searcher import Searcher

if TYPE_CHECKING:
    from proxyhash.catalog.thumbnails import StoredThumbnails
    from proxyhash.data import Modality
    from proxyhash.hashing import HashModel
    from proxyhash.index import Index

__all__ = ["IndexSearcher"]

_MODALITIES: tuple[Modality, ...] = ("image", "text")


class IndexSearcher(Searcher):
    """An index and the model that made its codes.

    Args:
        index: with the modalities "image", "text" or both.
        name: what messages call the index.
        model: run or model folder, or None where only items of the index ask.
        thumbnails: images of the items; the paths in payloads are never opened.
        device: where the model runs.
    """

    def __init__(
        self,
        index: Index,
        *,
        name: str,
        model: Path | None = None,
        thumbnails: StoredThumbnails | None = None,
        device: str = "cpu",
    ) -> None:
        self._index = index
        self._model = model
        self.name = name
        self.thumbnails = {} if thumbnails is None else thumbnails
        self.device = device

    @classmethod
    def open(cls, uri: str, *, model: Path | None = None, device: str = "cpu") -> Self:
        """Open an index folder or URI, to read.

        Args:
            uri: as `open_index` takes it.
            model: run or model folder; default the copy in the index folder, if there is one.
            device: where the model runs, once it is needed.

        Raises:
            DataError: there is no index, or it cannot be read.
        """
        folder = IndexFolder.at(uri)
        return cls(
            open_index(uri),
            name=uri,
            model=model or (folder.model if folder else None),
            thumbnails=folder.thumbnails if folder else None,
            device=device,
        )

    @staticmethod
    def recognizes(uri: str) -> bool:
        """Whether this is the name of an index: a folder with a header, or another backend's."""
        return scheme_of(uri) != "file" or IndexFolder.at(uri) is not None

    @property
    def index(self) -> Index:
        """What is searched."""
        return self._index

    @cached_property
    def model(self) -> HashModel:
        """The model, loaded at the first use.

        Raises:
            UsageError: the index carries none, and none was named.
            ModelError: it is not the model that made the codes of the index.
        """
        from proxyhash.hashing import HashModel

        if self._model is None:
            raise UsageError(
                f"{self.name} carries no model, so texts and images have no codes; "
                "say where it is with --model RUN"
            )
        folder = model_folder(self._model)
        model = HashModel.load(folder, device=self.device)
        if self.index.model not in ("", model.fingerprint) or self.index.bits != model.bits:
            raise ModelError(
                f"{folder} is not the model that made the codes of {self.name}, so their "
                "distances mean nothing; give the model that the index was built with"
            )
        return model

    def query_of(self, id: str) -> Query:  # noqa: A002
        """Return the query that an item of the index is; see `Searcher`."""
        item = self.index.get(id)
        modality = next(name for name in _MODALITIES if name in item.codes)
        text, image = item.payload.get("text"), item.payload.get("image")
        return Query(
            modality,
            item.codes[modality],
            text=text if isinstance(text, str) else None,
            image=Path(image) if isinstance(image, str) else None,
            id=id,
        )
