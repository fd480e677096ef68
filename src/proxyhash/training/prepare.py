"""The inputs of a run: the collection, its split, and the features of every item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxyhash.data import MODALITIES, Collection, Split, read_collection
from proxyhash.encoders import (
    Encoder,
    Features,
    PrecomputedFeatures,
    encode_collection,
    make_encoder,
)
from proxyhash.encoders.base import in_role
from proxyhash.errors import DivergedError, NotFiniteError, UsageError
from proxyhash.methods import Rows, get_method
from proxyhash.progress import Track, silent
from proxyhash.training.inputs import encoder_inputs
from proxyhash.training.rows import take_rows, usable
from proxyhash.training.split import choose_split, learns_from_all
from proxyhash.training.tuned import TunedFeatures, trainable
from proxyhash.training.views import ViewedFeatures, encode_views

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from proxyhash.data import Modality
    from proxyhash.encoders import FeatureCache
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.tuned import TunedEncoder

__all__ = ["Prepared", "encode_modality", "prepare", "preparing_key"]

_PREPARING_KEYS = (
    "data",
    "seed",
    "encoders",
    "bow_words",
    "query_prompt",
    "document_prompt",
    "on_bad_item",
    "max_megapixels",
    "label_separator",
    "query",
    "train",
    "validation",
    "split_file",
    "protocol",
    "device",
    "features_in_memory",
    "views",
    "augment",
    "crop_min",
)


def preparing_key(config: TrainConfig) -> tuple[Any, ...]:
    """Return what decides what is prepared; runs that agree in it can share it."""
    values = (getattr(config, name) for name in _PREPARING_KEYS)
    method = get_method(config.method)
    return (*values, method.needs_labels, method.validated_by)


@dataclass(frozen=True)
class Prepared:
    """The inputs of a run.

    Attributes:
        collection: the items.
        split: which of them are queries, gallery, training and validation items.
        encoders: per modality of the run.
        features: per modality, of all items.
        unlabeled: whether items without a label are training items, too.
        views: features of the views of training images, float32 (views, n, d) for n training items
            of the split in its order; None where there are none.
        seed: of the run.
    """

    collection: Collection
    split: Split
    encoders: Mapping[Modality, Encoder]
    features: Mapping[Modality, Features]
    unlabeled: bool = False
    views: npt.NDArray[np.float32] | None = None
    seed: int = 0

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints that a checkpoint depends on, besides the configuration."""
        found = {"collection": self.collection.fingerprint}
        for modality, encoder in self.encoders.items():
            found[f"{modality} encoder"] = encoder.fingerprint
            if MODALITIES[modality].is_file and not isinstance(encoder, PrecomputedFeatures):
                found[f"content of {modality} files"] = self.collection.file_sizes(modality)
        return found

    def rows(
        self,
        positions: npt.NDArray[np.int64],
        *,
        device: torch.device | str,
        tuned: Mapping[Modality, TunedEncoder] = MappingProxyType({}),
        learning: bool = False,
        evaluated: bool = True,
        track: Track = silent,
    ) -> Rows:
        """Return the usable items at `positions`, see `take_rows`.

        Args:
            positions: which items.
            device: where the tensors are.
            tuned: encoders that learn, with the weights that `features` came from.
            learning: whether something learns from these items, which are the split's training
                items then.
            evaluated: whether features are read again as the encoders change, for validation; what
                they are made from is then kept at hand.
            track: reports the progress of decoding, and of encoding when their weights changed.
        """
        labels = self.collection.labels
        kept = usable(self.features, labels, positions, unlabeled=self.unlabeled)
        rows = take_rows(
            self.features, labels, kept, device=device, unlabeled=self.unlabeled,
            targets=self.collection.targets,
        )  # fmt: skip
        features, bad = dict(rows.features), {}
        if learning and self.views is not None:
            views = self.views
            if len(kept) < len(positions):  # else nothing is copied
                views = views[:, np.isin(positions, kept)]
            features["image"] = ViewedFeatures(
                features["image"], torch.from_numpy(views).to(device), seed=self.seed
            )
        for modality, encoder in tuned.items():
            plain, inputs = encoder_inputs(
                encoder.encoder, self.collection, kept, self.features[modality].present[kept],
                config=encoder.config, learning=learning, track=track,
                evaluated=evaluated,
            )  # fmt: skip
            unreadable = (
                plain.unreadable if inputs is None else plain.unreadable | inputs.unreadable
            )
            if unreadable.any():
                bad[modality] = kept[unreadable]
            features[modality] = TunedFeatures(
                encoder,
                inputs,
                sources=plain,
                values=features[modality][:],
                present=rows.present[modality],
                track=track,
            )
        if bad:
            return self._without(bad).rows(
                positions, device=device, tuned=tuned, learning=learning, evaluated=evaluated,
                track=track,
            )  # fmt: skip
        return replace(rows, features=features)

    def _without(self, bad: Mapping[Modality, npt.NDArray[np.int64]]) -> Prepared:
        """Return the same with the modality of some items taken as absent."""
        features = dict(self.features)
        for modality, positions in bad.items():
            given = features[modality]
            present = given.present.copy()
            present[positions] = False
            values = np.where(present[:, None], given.values, np.float32(0))
            features[modality] = replace(given, values=values, present=present)
        return replace(self, features=features)

    def with_own_encoders(self, config: TrainConfig) -> Prepared:
        """Return the same with new encoders where they learn, as their weights change in place."""
        own = {m: _make_encoder(m, config, self.collection, self.split) for m in config.tune}
        return replace(self, encoders={**self.encoders, **own})

    def query_features(self, *, cache: FeatureCache | None, track: Track) -> dict[str, Features]:
        """Return features of all items in which those of the split's queries are those of queries.

        Only modalities are there whose encoder encodes queries in another way, as after a prompt.
        """
        found: dict[str, Features] = {}
        rows = self.split.query
        for modality, encoder in self.encoders.items():
            asking = in_role(encoder, "query")
            if asking is encoder:
                continue
            items = [self.collection.items[row] for row in rows]
            queries = encode_collection(
                asking,
                Collection.of(self.collection.path, items),
                cache=cache,
                track=track,
                on_bad_item="skip",
            )
            given = self.features[modality]
            values = np.array(given.values)
            values[rows[queries.present]] = queries.values[queries.present]
            found[modality] = replace(given, values=values)
        return found

    def with_frozen_encoders(
        self, config: TrainConfig, *, cache: FeatureCache | None, track: Track
    ) -> Prepared:
        """Return the same with the features of encoders that learned and will do so no more.

        Raises:
            DivergedError: some are not finite, as finite weights can be too large to compute with;
                names the rate.
        """
        features = dict(self.features)
        for modality in config.tune:
            encoder = trainable(self.encoders[modality])
            encoder.freeze()
            try:
                features[modality] = encode_collection(
                    encoder,
                    self.collection,
                    cache=cache,
                    track=track,
                    on_bad_item=config.on_bad_item,
                )
            except NotFiniteError as error:
                rate = config.encoder_rates.get(modality, config.encoder_rate)
                raise DivergedError(
                    f"training diverged: the {modality} encoder that learned gives features that "
                    f"are not finite. Try a smaller encoder_rate (it is {rate:g}), warmup, or "
                    "clip=1 in a new folder"
                ) from error
        return replace(self, features=features)


def prepare(
    config: TrainConfig,
    *,
    collection: Collection | None = None,
    split_file: Path | None = None,
    fingerprints: Mapping[str, str] = MappingProxyType({}),
    cache: FeatureCache | None = None,
    track: Track = silent,
) -> Prepared:
    """Read, split and encode the collection of a run.

    Args:
        config: The run's configuration.
        collection: Its collection, if it was read already.
        split_file: The split of an earlier part of the run, used instead of choosing one.
        fingerprints: Those of an earlier part of the run, as `Prepared.fingerprints`; an encoder
            that an earlier version of proxyhash made is made as then.
        cache: Where features are kept between runs.
        track: Reports progress per encoded item.

    Raises:
        UsageError: there are too few items for what was asked, no training item has one of the
            modalities, no encoder is named for one, or one that is to learn cannot.
        DataError: the collection, an image or a feature file cannot be used.
    """
    if collection is None:
        collection = read_collection(
            config.data, on_bad_item=config.on_bad_item, label_separator=config.label_separator
        )
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
    # All encoders before the first image is encoded: one of them may not be usable. Those of files
    # come last, as learning one from images takes a while, too.
    files_last = sorted(config.modalities, key=lambda name: MODALITIES[name].is_file)
    encoders = {
        name: _make_encoder(name, config, collection, split, fingerprints) for name in files_last
    }
    for modality in config.tune:
        trainable(encoders[modality])
    encoded = {
        modality: encode_modality(
            modality, config, collection, split,
            encoder=encoders[modality], cache=cache, track=track,
        )
        for modality in config.modalities
    }  # fmt: skip
    views = None
    if config.views and "image" not in config.tune:
        encoder, plain = encoded["image"]
        views = encode_views(
            encoder, collection, split.train, plain, config=config, cache=cache, track=track
        )
    return Prepared(
        collection,
        split,
        encoders={modality: encoder for modality, (encoder, _) in encoded.items()},
        features={modality: features for modality, (_, features) in encoded.items()},
        unlabeled=learns_from_all(config.method, collection),
        views=views,
        seed=config.seed,
    )


def encode_modality(
    modality: Modality,
    config: TrainConfig,
    collection: Collection,
    split: Split,
    *,
    encoder: Encoder | None = None,
    cache: FeatureCache | None,
    track: Track = silent,
) -> tuple[Encoder, Features]:
    """Return the encoder of one modality, by default a new one, and the features of all items.

    Encoders that learn from data see training and validation items alone, never queries or the rest
    of the gallery.

    Raises:
        UsageError: no training item has the modality.
        DataError: an image or feature file cannot be used; names it.
    """
    if encoder is None:
        encoder = _make_encoder(modality, config, collection, split)
    features: Features | None = None
    if isinstance(encoder, PrecomputedFeatures):
        features = encoder.mapped_rows(collection, in_memory=config.features_in_memory)
    if features is None:
        features = encode_collection(
            encoder, collection, cache=cache, track=track, on_bad_item=config.on_bad_item
        )
    return encoder, features


def _make_encoder(
    modality: Modality,
    config: TrainConfig,
    collection: Collection,
    split: Split,
    fingerprints: Mapping[str, str] = MappingProxyType({}),
) -> Encoder:
    spec = config.encoders[modality]
    stored = spec.startswith("features:")  # such a collection need not name images or texts
    if not stored and not collection.has(modality)[split.train].any():
        raise UsageError(
            f"no training item of {collection.path} has any {modality}; single items may lack a "
            f"modality, all of them may not; --encoder {modality}=none leaves it out"
        )
    make = partial(
        make_encoder,
        modality=modality,
        collection=collection,
        train=np.union1d(split.train, split.validation),
        bow_words=config.bow_words,
        device=config.device,
        prompts=config.prompts if modality == "text" else {},
    )
    encoder = make(spec)
    wanted = fingerprints.get(f"{modality} encoder", encoder.fingerprint)
    if encoder.fingerprint != wanted:
        for option in encoder.earlier:
            former = make(f"{spec}{',' if ':' in spec else ':'}{option}")
            if former.fingerprint == wanted:
                return former
        for former in encoder.formers():
            if former.fingerprint == wanted:
                return former
    return encoder
