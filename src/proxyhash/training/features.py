"""The encoders of a run, and the features of the whole collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.encoders import Encoder, FeatureCache, Features, encode_collection, make_encoder
from proxyhash.errors import UsageError
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from proxyhash.data import Collection, Modality, Split
    from proxyhash.training.config import TrainConfig

__all__ = ["Encoded", "encode_both"]


@dataclass(frozen=True)
class Encoded:
    """Both encoders, and what they make of every item."""

    image_encoder: Encoder
    text_encoder: Encoder
    image: Features
    text: Features


def encode_both(
    config: TrainConfig,
    collection: Collection,
    split: Split,
    *,
    cache: FeatureCache | None,
    track: Track = silent,
) -> Encoded:
    """Return the features of all items; encoders that learn from data see the train part alone.

    That part is train and validation items together, the items whose labels may be used too:
    queries and the rest of the gallery teach nothing.

    Raises:
        UsageError: the collection has no images, or no texts.
        DataError: an image or feature file cannot be used; names it.
    """
    teachers = np.union1d(split.train, split.validation)

    def encode(modality: Modality, spec: str) -> tuple[Encoder, Features]:
        has = collection.has_image if modality == "image" else collection.has_text
        stored = spec.startswith("features:")  # such a collection need not name images or texts
        if not stored and not has[split.train].any():
            raise UsageError(
                f"no train item of {collection.path} has any {modality}; cross-modal training "
                "needs both modalities, though single items may lack one"
            )
        encoder = make_encoder(
            spec,
            modality=modality,
            collection=collection,
            train=teachers,
            bow_words=config.bow_words,
            device=config.device,
        )
        features = encode_collection(
            encoder, collection, cache=cache, track=track, on_bad_item=config.on_bad_item
        )
        return encoder, features

    image_encoder, image = encode("image", config.image_encoder)
    text_encoder, text = encode("text", config.text_encoder)
    return Encoded(image_encoder, text_encoder, image, text)
