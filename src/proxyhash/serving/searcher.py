"""Searching the gallery of a trained run by a text, a picture or one of its own items."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.data.run_data import read_run
from proxyhash.errors import ModelError, UsageError, check_option
from proxyhash.index import ExactIndex
from proxyhash.serving.answer import Answer, Query
from proxyhash.serving.model_folder import model_folder

if TYPE_CHECKING:
    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.data.run_data import RunData
    from proxyhash.hashing import HashModel

__all__ = ["RunSearcher", "other_modality"]


def other_modality(modality: Modality) -> Modality:
    """Return "text" for "image" and the other way round."""
    return "text" if modality == "image" else "image"


class RunSearcher:
    """The gallery of one run, in both modalities, and the model that encodes queries.

    The model is loaded when the first text or picture is searched for; an item of the collection
    has its codes already.

    Args:
        run: the collection, split and codes of the run.
        device: where the model runs.
    """

    def __init__(self, run: RunData, *, device: str = "cpu") -> None:
        self.run = run
        self.device = device
        self._indexes: dict[Modality, ExactIndex] = {}

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

    def search_text(self, text: str, *, k: int = 12, target: Modality = "image") -> Answer:
        """Return the gallery's items nearest to a text.

        Raises:
            UsageError: the text is empty or none of its words is known to the model, or the model
                or gallery has no such modality.
        """
        text = " ".join(text.split())
        if not text:
            raise UsageError("the text to search for is empty")
        encoder = self.model.text_encoder
        if encoder is None:
            raise UsageError(
                f"the model of {self.run.folder} has no text encoder; search with an image"
            )
        features = encoder.encode([text])
        if not features.any():
            raise UsageError(
                f"the model of {self.run.folder} knows no word of {text!r}, so its code would mean "
                "nothing; try words that the texts of its train items use"
            )
        code = self.model.encode_features(features, modality="text")[0]
        return self._answer(Query("text", code, text=text), k=k, target=target)

    def search_image(self, image: str | Path, *, k: int = 12, target: Modality = "text") -> Answer:
        """Return the gallery's items nearest to a picture file.

        Raises:
            ImageError: the picture cannot be read.
            UsageError: the model or gallery has no such modality.
        """
        path = Path(image)
        encoder = self.model.image_encoder
        if encoder is None:
            raise UsageError(
                f"the model of {self.run.folder} has no image encoder; search with a text"
            )
        code = self.model.encode_images([path])[0]
        return self._answer(Query("image", code, image=path), k=k, target=target)

    def search_id(self, id: str, *, k: int = 12, target: Modality | None = None) -> Answer:  # noqa: A002
        """Return the gallery's items nearest to an item of the collection, by its stored code.

        The item's image asks where it has one, else its text. An item is no answer to its own
        code: in the same modality it is left out of its hits.

        Args:
            id: any item of the collection, gallery or not.
            k: how many hits.
            target: default the other modality than the one that asks.

        Raises:
            UsageError: the collection has no such item, or the gallery no such modality.
        """
        row = self.run.collection.positions.get(id)
        if row is None:
            raise UsageError(
                f"{self.run.collection.path} has no item {id!r}; its ids look like "
                f"{self.run.collection.ids[0]!r}"
            )
        modality: Modality = "image" if self.run.codes.has_image[row] else "text"
        item = self.run.collection.items[row]
        query = Query(
            modality,
            self._codes_of(modality)[row],
            text=item.text,
            image=self.run.collection.image_paths[row],
            id=id,
        )
        return self._answer(query, k=k, target=target or other_modality(modality))

    def _answer(self, query: Query, *, k: int, target: Modality) -> Answer:
        if k < 1:
            raise UsageError(f"k is {k}; it must be at least 1")
        index = self._index(target)
        itself = query.modality == target and query.id is not None and query.id in index
        hits = index.search(query.code[None], k=k + itself)[0]
        hits = [hit for hit in hits if not (itself and hit.id == query.id)][:k]
        return Answer(
            query=query,
            target=target,
            hits=tuple(hits),
            codes=np.array([index.get(hit.id) for hit in hits], np.uint8).reshape(
                len(hits), len(query.code)
            ),
            searched=len(index) - itself,
            bits=index.bits,
        )

    def _index(self, target: Modality) -> ExactIndex:
        check_option("target", target, ("image", "text"))
        if target not in self._indexes:
            has = self.run.codes.has_image if target == "image" else self.run.codes.has_text
            rows = self.run.split.gallery[has[self.run.split.gallery]]
            if not len(rows):
                raise UsageError(
                    f"no item in the gallery of {self.run.folder} has an {target} to find"
                )
            index = ExactIndex(bits=self.run.codes.bits, model=self.run.codes.model)
            index.add(
                [self.run.collection.ids[row] for row in rows],
                self._codes_of(target)[rows],
                payloads=[self._payload(row) for row in rows],
            )
            self._indexes[target] = index
        return self._indexes[target]

    def _codes_of(self, modality: Modality) -> Codes:
        return self.run.codes.image_codes if modality == "image" else self.run.codes.text_codes

    def _payload(self, row: int) -> dict[str, object]:
        item = self.run.collection.items[row]
        path = self.run.collection.image_paths[row]
        return {
            "text": item.text,
            "image": str(path) if path else None,
            "labels": list(item.labels),
        }
