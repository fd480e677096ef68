"""Searching an index by a text, an image or one of its own items, with the model of its codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from proxyhash.errors import UsageError, check_option
from proxyhash.search.answer import Answer, Query

if TYPE_CHECKING:
    from proxyhash.catalog.thumbnails import StoredThumbnails
    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.hashing import HashModel
    from proxyhash.index import Hit, Index
    from proxyhash.index.filters import Filter

__all__ = ["Searcher", "other_modality"]


def other_modality(modality: Modality) -> Modality:
    """Return "text" for "image" and the other way round."""
    return "text" if modality == "image" else "image"


class Searcher(ABC):
    """An index of items with images and texts, and the model that encodes queries.

    Each search takes these options:
        k: how many hits at most, or None for all within the radius.
        target: whose codes are searched, "image" or "text"; default the other modality than the
            one that asks, where the index has it.
        radius: no hit is farther than this many bits.
        filter: only items whose payload matches.

    Attributes:
        name: what messages call the thing that is searched.
        thumbnails: images of the items by id, or None where items name paths of images.
    """

    name: str
    thumbnails: StoredThumbnails | None = None

    @property
    @abstractmethod
    def index(self) -> Index:
        """What is searched."""

    @property
    @abstractmethod
    def model(self) -> HashModel:
        """The model that made the codes, loaded at the first use."""

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def __enter__(self) -> Self:
        """Return the searcher."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the index."""
        self.close()

    @abstractmethod
    def query_of(self, id: str) -> Query:  # noqa: A002 -- the index's word
        """Return the query that an item is: by its image where it has one, else by its text.

        Raises:
            UsageError: there is no such item.
        """

    def search_text(
        self,
        text: str,
        *,
        k: int | None = 12,
        target: Modality | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002
    ) -> Answer:
        """Return the items nearest to a text.

        Raises:
            UsageError: the text is empty or none of its words is known to the model, or the model
                or index has no such modality.
        """
        text = " ".join(text.split())
        if not text:
            raise UsageError("the text to search for is empty")
        encoder = self.model.encoder("text")
        if encoder is None:
            raise UsageError(f"the model of {self.name} has no text encoder; search with an image")
        features = encoder.encode([text])
        if not features.any():
            raise UsageError(
                f"the model of {self.name} knows no word of {text!r}, so its code would mean "
                "nothing; try words that the texts of its train items use"
            )
        code = self.model.encode_features(features, modality="text")[0]
        return self.search_query(
            Query("text", code, text=text), k=k, target=target, radius=radius, filter=filter
        )

    def search_image(
        self,
        image: str | Path,
        *,
        k: int | None = 12,
        target: Modality | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002
    ) -> Answer:
        """Return the items nearest to an image file.

        Raises:
            ImageError: the image cannot be read.
            UsageError: the model or index has no such modality.
        """
        path = Path(image)
        if self.model.encoder("image") is None:
            raise UsageError(f"the model of {self.name} has no image encoder; search with a text")
        code = self.model.encode_images([path])[0]
        return self.search_query(
            Query("image", code, image=path), k=k, target=target, radius=radius, filter=filter
        )

    def search_id(
        self,
        id: str,  # noqa: A002
        *,
        k: int | None = 12,
        target: Modality | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002
    ) -> Answer:
        """Return the items nearest to one that is stored, by its code.

        An item is no answer to its own code: in the same modality it is left out of its hits.

        Raises:
            UsageError: there is no such item, or the index has no such modality.
        """
        query = self.query_of(id)
        return self.search_query(query, k=k, target=target, radius=radius, filter=filter)

    def search_query(
        self,
        query: Query,
        *,
        k: int | None,
        target: Modality | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002
    ) -> Answer:
        """Return the items nearest to a query whose code is known.

        Raises:
            UsageError: the index has no such modality, or an option is out of range.
        """
        if k is not None and k < 1:
            raise UsageError(f"k is {k}; it must be at least 1")
        target = self._target(query, target)
        count = self._count(target)
        itself = query.modality == target and query.id is not None and query.id in self.index
        (hits,) = self.index.search(
            query.code[None],
            k=None if k is None else k + itself,
            modality=target,
            radius=radius,
            filter=filter,
        )
        if itself:
            hits = [hit for hit in hits if hit.id != query.id][:k]
        hits, codes = self._with_codes(hits, target)
        return Answer(
            query=query,
            target=target,
            hits=tuple(hits),
            codes=np.array(codes, np.uint8).reshape(len(hits), len(query.code)),
            searched=count - itself,
            bits=self.index.bits,
        )

    def _target(self, query: Query, target: Modality | None) -> Modality:
        if target is None:
            other = other_modality(query.modality)
            target = other if other in self.index.modalities else query.modality
        check_option("target", target, ("image", "text"))
        if target not in self.index.modalities:
            has = " and ".join(f"{name}s" for name in self.index.modalities)
            raise UsageError(f"{self.name} has no {target}s to find, only {has}")
        return target

    def _count(self, target: Modality) -> int:
        modalities = self.index.info().get("modalities")
        count = modalities[target] if isinstance(modalities, dict) else len(self.index)
        if not count:
            article = "an" if target == "image" else "a"
            raise UsageError(f"no item in {self.name} has {article} {target} to find")
        return int(count)

    def _with_codes(self, hits: list[Hit], target: Modality) -> tuple[list[Hit], list[Codes]]:
        """Return hits with their codes, but those that were changed or deleted since."""
        kept: list[Hit] = []
        codes: list[Codes] = []
        for hit in hits:
            with suppress(UsageError, KeyError):
                codes.append(self.index.get(hit.id).codes[target])
                kept.append(hit)
        return kept, codes
