"""What a run learns from: the collection, its split, and the features of every item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.data import Collection, Split, read_collection
from proxyhash.progress import Track, silent
from proxyhash.training.features import Encoded, encode_both
from proxyhash.training.splits import choose_split

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.encoders import FeatureCache
    from proxyhash.training.config import TrainConfig

__all__ = ["PREPARING_KEYS", "Prepared", "prepare"]

PREPARING_KEYS = (
    "data",
    "seed",
    "image_encoder",
    "text_encoder",
    "bow_words",
    "on_bad_item",
    "query",
    "train",
    "validation",
    "split_file",
    "device",
)
"""Keys of a configuration that decide what is prepared; runs that agree in them can share it."""


@dataclass(frozen=True)
class Prepared:
    """The inputs of a run."""

    collection: Collection
    split: Split
    encoded: Encoded

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints of what a checkpoint depends on beside the configuration."""
        return {
            "collection": self.collection.fingerprint,
            "image encoder": self.encoded.image_encoder.fingerprint,
            "text encoder": self.encoded.text_encoder.fingerprint,
        }


def prepare(
    config: TrainConfig,
    *,
    split_file: Path | None = None,
    cache: FeatureCache | None = None,
    track: Track = silent,
) -> Prepared:
    """Read, split and encode the collection of a run.

    Args:
        config: The run's configuration.
        split_file: The split of an earlier part of the run, used instead of choosing one.
        cache: Where features are kept between runs.
        track: Told of every item that is encoded.

    Raises:
        UsageError: there are too few items for what was asked.
        DataError: the collection cannot be used.
    """
    collection = read_collection(config.data, on_bad_item=config.on_bad_item)
    if split_file is None:
        split = choose_split(config, collection)
    else:
        split = Split.load(split_file, collection)
    return Prepared(
        collection, split, encode_both(config, collection, split, cache=cache, track=track)
    )
