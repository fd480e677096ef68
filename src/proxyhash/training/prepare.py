"""The inputs of a run: the collection, its split, and the features of every item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from proxyhash.data import (
    MODALITIES,
    Collection,
    Split,
    draw_split,
    manifest_split,
    read_collection,
)
from proxyhash.data.protocols import get_protocol
from proxyhash.encoders import Encoder, Features, encode_collection, make_encoder
from proxyhash.errors import UsageError
from proxyhash.methods import Rows
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.encoders import FeatureCache
    from proxyhash.training.config import TrainConfig

__all__ = ["PREPARING_KEYS", "Prepared", "choose_split", "encode_modality", "prepare", "take_rows"]

PREPARING_KEYS = (
    "data",
    "seed",
    "encoders",
    "bow_words",
    "on_bad_item",
    "query",
    "train",
    "validation",
    "split_file",
    "device",
)
"""Keys of a configuration that decide what is prepared; runs that agree in them can share it."""

MIN_LABELED = 10
"""Labeled items below which no split is drawn."""
MAX_QUERIES = 1000
MAX_TRAIN = 50_000
MAX_VALIDATION = 500


@dataclass(frozen=True)
class Prepared:
    """The inputs of a run.

    Attributes:
        collection: the items.
        split: which of them are queries, gallery, training and validation items.
        encoders: per modality of the run.
        features: per modality, of all items.
    """

    collection: Collection
    split: Split
    encoders: Mapping[Modality, Encoder]
    features: Mapping[Modality, Features]

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints that a checkpoint depends on, besides the configuration."""
        encoders = {f"{m} encoder": encoder.fingerprint for m, encoder in self.encoders.items()}
        return {"collection": self.collection.fingerprint, **encoders}

    def rows(self, positions: npt.NDArray[np.int64], *, device: torch.device | str) -> Rows:
        """Return the usable items at `positions`, see `take_rows`."""
        return take_rows(self.features, self.collection.labels, positions, device=device)


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
        track: Reports progress per encoded item.

    Raises:
        UsageError: there are too few items for what was asked, no training item has one of the
            modalities, or no encoder is named for one.
        DataError: the collection, an image or a feature file cannot be used.
    """
    collection = read_collection(config.data, on_bad_item=config.on_bad_item)
    for modality in collection.modalities:
        if modality not in config.encoders:
            raise UsageError(
                f"items of {collection.path} have {MODALITIES[modality].one}, and no encoder is "
                f"named for it; give --encoder {modality}=NAME, or --encoder {modality}=none to "
                "leave the modality out"
            )
    if split_file is None:
        split = choose_split(config, collection)
    else:
        split = Split.load(split_file, collection)
    encoded = {
        modality: encode_modality(modality, config, collection, split, cache=cache, track=track)
        for modality in config.modalities
    }
    return Prepared(
        collection,
        split,
        encoders={modality: encoder for modality, (encoder, _) in encoded.items()},
        features={modality: features for modality, (_, features) in encoded.items()},
    )


def encode_modality(
    modality: Modality,
    config: TrainConfig,
    collection: Collection,
    split: Split,
    *,
    cache: FeatureCache | None,
    track: Track = silent,
) -> tuple[Encoder, Features]:
    """Return the encoder of one modality and the features of all items.

    Encoders that learn from data see training and validation items alone, never queries or the rest
    of the gallery.

    Raises:
        UsageError: no training item has the modality.
        DataError: an image or feature file cannot be used; names it.
    """
    spec = config.encoders[modality]
    stored = spec.startswith("features:")  # such a collection need not name images or texts
    if not stored and not collection.has(modality)[split.train].any():
        raise UsageError(
            f"no training item of {collection.path} has any {modality}; single items may lack a "
            "modality, all of them may not. Training needs two modalities at least; "
            f"--encoder {modality}=none leaves one out"
        )
    encoder = make_encoder(
        spec,
        modality=modality,
        collection=collection,
        train=np.union1d(split.train, split.validation),
        bow_words=config.bow_words,
        device=config.device,
    )
    features = encode_collection(
        encoder, collection, cache=cache, track=track, on_bad_item=config.on_bad_item
    )
    return encoder, features


def take_rows(
    features: Mapping[Modality, Features],
    labels: npt.NDArray[np.bool_],
    positions: npt.NDArray[np.int64],
    *,
    device: torch.device | str = "cpu",
) -> Rows:
    """Return the items at `positions` that have a label and at least one modality."""
    present = np.any([values.present for values in features.values()], axis=0)
    useful = labels.any(axis=1) & present
    kept = positions[useful[positions]]

    def tensor(values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[kept])).to(device)

    return Rows(
        features={modality: tensor(given.values) for modality, given in features.items()},
        present={modality: tensor(given.present) for modality, given in features.items()},
        labels=tensor(labels.astype(np.float32)),
    )


def choose_split(config: TrainConfig, collection: Collection) -> Split:
    """Return the split of a new run.

    A `split_file` is used as it is, and a `protocol` is drawn with the sizes it names. Else a
    manifest with `split` keys of its own is followed, unless `query` or `train` are given. Else a
    split is drawn by the seed: by default a tenth of the items are queries (at most 1,000), four
    fifths of the rest are training items (at most 50,000), so that some gallery remains which
    training has not seen, and a twentieth of those are for validation (at most 500).

    Raises:
        UsageError: there are too few items for what was asked.
        DataError: the protocol or the split file belongs to another collection.
    """
    if config.split_file:
        return Split.load(config.split_file, collection)
    if config.protocol:
        protocol = get_protocol(config.protocol)
        validation = _validation(config, protocol.train)
        return protocol.draw(collection, validation=validation, seed=config.seed)
    named = any(item.split is not None for item in collection.items)
    if named and config.query is None and config.train is None:
        return _follow_manifest(config, collection)
    labeled = int(collection.labels.any(axis=1).sum())
    if labeled < MIN_LABELED:
        raise UsageError(
            f"{collection.path} has {labeled} items with labels; training needs at least "
            f"{MIN_LABELED}"
        )
    query = config.query or min(max(1, labeled // 10), MAX_QUERIES)
    train = config.train or min(max(2, (labeled - query) * 4 // 5), MAX_TRAIN)
    return draw_split(
        collection,
        query=query,
        train=train,
        validation=_validation(config, train),
        seed=config.seed,
    )


def _follow_manifest(config: TrainConfig, collection: Collection) -> Split:
    split = manifest_split(collection, validation=0, seed=config.seed)
    wanted = _validation(config, len(split.train))
    if len(split.validation) or not wanted:
        return split
    return manifest_split(collection, validation=wanted, seed=config.seed)


def _validation(config: TrainConfig, train: int) -> int:
    """Return how many of `train` items are for validation."""
    if config.validation is not None:
        return config.validation
    return min(train // 20, MAX_VALIDATION)
