"""Trained model: encoders and hashing networks from inputs to packed codes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from proxyhash.codes import CodeFile, binarize, code_bytes, weights_of
from proxyhash.data import MODALITIES, Collection, Modality
from proxyhash.encoders import (
    Encoder,
    FeatureCache,
    Features,
    PrecomputedFeatures,
    encode_collection,
)
from proxyhash.encoders.base import in_role
from proxyhash.encoders.feature_file import release
from proxyhash.encoders.folder import fingerprint_of
from proxyhash.encoders.recipe import Role
from proxyhash.errors import ModelError, UsageError, check_option
from proxyhash.hashing.folder import (
    SavedEncoder,
    SavedModel,
    check_parts,
    read_model,
    write_model,
)
from proxyhash.networks.base import Network
from proxyhash.networks.blocks import block_logits, sign_logits
from proxyhash.progress import Track, silent
from proxyhash.proxies.proxies import Proxies

__all__ = ["HashModel"]


class HashModel:
    """Encoders and hashing networks by modality, with the proxies of the classes.

    Args:
        bits: code length K.
        classes: names of the C classes, in the order of the proxies.
        method: name of the training method.
        networks: per modality, what turns features into logits; at least one.
        encoders: per modality, what turns inputs into features; a modality without one takes
            features alone.
        proxies: the codes of the classes, where the method has any.

    Raises:
        UsageError: the parts do not fit together; names the two that do not.

    Example:
        >>> import numpy as np
        >>> from proxyhash.networks import HashingNetwork
        >>> networks = {"text": HashingNetwork(5, 16)}
        >>> model = HashModel(bits=16, classes=["dog"], method="dchml", networks=networks)
        >>> model.encode_features(np.ones((3, 5), np.float32), modality="text").shape
        (3, 2)
    """

    def __init__(
        self,
        *,
        bits: int,
        classes: Sequence[str],
        method: str,
        networks: Mapping[Modality, Network],
        encoders: Mapping[Modality, Encoder | SavedEncoder] = MappingProxyType({}),
        proxies: Proxies | None = None,
    ) -> None:
        self.bits = bits
        self.classes = tuple(classes)
        self.method = method
        self.networks: Mapping[Modality, Network] = dict(networks)
        self.proxies = proxies
        self._encoders: dict[Modality, Encoder | SavedEncoder] = dict(encoders)
        check_parts(self.networks, self._encoders, proxies, bits=bits, classes=len(self.classes))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that the model has a network for."""
        return tuple(self.networks)

    def encoder(self, modality: Modality) -> Encoder | None:
        """Return a modality's encoder, or None; read from the model's folder on first use."""
        encoder = self._encoders.get(modality)
        if isinstance(encoder, SavedEncoder):
            encoder = self._encoders[modality] = encoder.load()
        return encoder

    def check_features(self, collection: Collection) -> None:
        """Refuse a collection that precomputed features of the model do not belong to.

        Raises:
            FeatureError: as `PrecomputedFeatures.check`.
        """
        for modality in self.modalities:
            kind = getattr(self._encoders.get(modality), "kind", None)
            encoder = self.encoder(modality) if kind == PrecomputedFeatures.kind else None
            if isinstance(encoder, PrecomputedFeatures):
                encoder.check(collection)

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over everything that decides the codes: weights, encoders, classes, proxies.

        `save` and `load` keep it. Distances between codes of models with different fingerprints
        mean nothing.
        """
        settings: dict[str, Any] = {"bits": self.bits, "classes": list(self.classes)}
        arrays = {} if self.proxies is None else {"proxies": self.proxies.codes}
        for modality, network in self.networks.items():
            encoder = self._encoders.get(modality)
            settings[modality] = {
                "network": network.description,
                "encoder": None if encoder is None else encoder.fingerprint,
            }
            for name, tensor in network.state_dict().items():
                arrays[f"{modality}.{name}"] = tensor.cpu().numpy()
        return fingerprint_of(settings, arrays)

    def logits(
        self, features: Float32[np.ndarray, "n d"], *, modality: Modality
    ) -> Float32[np.ndarray, "n k"]:
        """Return the real values whose signs are the bits.

        Args:
            features: as the modality's encoder returns them.
            modality: one of the model's.

        Raises:
            UsageError: the model has no network for the modality, or the features have a
                different width.
        """
        return block_logits(self._network(modality), features, modality=modality)

    def encode_features(
        self, features: Float32[np.ndarray, "n d"], *, modality: Modality
    ) -> UInt8[np.ndarray, "n b"]:
        """Return packed codes, (n, ceil(K/8)), of features.

        Raises:
            UsageError: as `logits`.
            DataError: a row of the features is not finite.
        """
        logits = sign_logits(self._network(modality), features, modality=modality)
        return binarize(logits)

    def query_weights(
        self, features: Float32[np.ndarray, "n d"], *, modality: Modality
    ) -> UInt16[np.ndarray, "n k"]:
        """Return how sure the model is of each bit of queries, for `Index.search(look=...)`.

        They are the sizes of the outputs tanh(logits), in units of 1 / 65,535.

        Args:
            features: as the modality's encoder returns them.
            modality: one of the model's.

        Raises:
            UsageError: as `logits`.
            DataError: a row of the features is not finite.
        """
        return weights_of(np.tanh(self.logits(features, modality=modality)))

    def encode(
        self,
        inputs: Sequence[Any],
        *,
        modality: Modality,
        batch_size: int = 64,
        track: Track = silent,
        on_unknown: str = "fail",
        role: str = "document",
    ) -> UInt8[np.ndarray, "n b"]:
        """Return packed codes, (n, ceil(K/8)), of inputs of one modality.

        Args:
            inputs: what the modality's encoder takes: texts, or paths, bytes or PIL images.
            modality: one of the model's.
            batch_size: largest number of inputs that go through the encoder together.
            track: reports progress.
            on_unknown: "fail" at an input in which the model knows nothing, such as a text without
                a word of its vocabulary, or "keep" its code, which means nothing.
            role: "document" for what is indexed, "query" for what is searched for; they differ
                where the encoder has prompts.

        Raises:
            UsageError: the model has no network or no encoder for the modality, `inputs` is a
                single string, or the model knows nothing of an input.
            ImageError: an image cannot be read; names it.
        """
        if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Sequence):
            raise UsageError(
                f"a {type(inputs).__name__} was passed to be encoded; "
                f"pass a list of {_plural(modality)}"
            )
        if modality == "text":
            for row, each in enumerate(inputs):
                if not isinstance(each, str):
                    raise UsageError(f"text {row} is {each!r:.40}; a string is expected")
        check_option("on_unknown", on_unknown, ("fail", "keep"))
        check_option("role", role, ("query", "document"))
        encoder = in_role(self._need_encoder(modality), cast("Role", role))
        features = encoder.encode(inputs, batch_size=batch_size, track=track)
        unknown = np.flatnonzero(~features.any(axis=1))
        if on_unknown == "fail" and unknown.size:
            row, *others = unknown.tolist()
            more = f" (and of {len(others):,} more)" if others else ""
            raise UsageError(
                f"the model knows nothing of {modality} {row}, {inputs[row]!r:.80}{more}, so its "
                "code would mean nothing; leave it out, or pass on_unknown='keep'"
            )
        return self.encode_features(features, modality=modality)

    def encode_images(self, images: Sequence[Any], **options: Any) -> UInt8[np.ndarray, "n b"]:
        """Return packed codes of image paths, bytes or PIL images; options as of `encode`."""
        return self.encode(images, modality="image", **options)

    def encode_texts(self, texts: Sequence[str], **options: Any) -> UInt8[np.ndarray, "n b"]:
        """Return packed codes of texts; options as of `encode`."""
        return self.encode(texts, modality="text", **options)

    def encode_collection(
        self,
        collection: Collection,
        *,
        cache: FeatureCache | None = None,
        batch_size: int = 64,
        track: Track = silent,
        on_bad_item: str = "fail",
        weigh: bool = False,
        part_of: tuple[int, int] | None = None,
    ) -> CodeFile:
        """Return the codes of all items, where an item and the model have the modality.

        Args:
            collection: the items.
            cache: where features are looked up and kept.
            batch_size: largest number of items that go through an encoder together.
            track: reports progress per item.
            on_bad_item: "fail" at an image that cannot be read, or "skip" it: the item is marked
                as `unreadable` there.
            weigh: whether the codes come with their `weights`, for an index that keeps vectors.
            part_of: as of `proxyhash.encoders.encode_collection`.

        Raises:
            UsageError: the model was saved without the encoder of a modality.
            ImageError: an image cannot be read and `on_bad_item` is "fail"; names it.
        """
        features = {
            modality: encode_collection(
                self._need_encoder(modality),
                collection,
                cache=cache,
                batch_size=batch_size,
                track=track,
                on_bad_item=on_bad_item,
                part_of=part_of,
            )
            for modality in self.modalities
        }
        codes = self.encode_prepared(collection.ids, features)
        return replace(codes, weights=self.weigh_prepared(features)) if weigh else codes

    def encode_prepared(
        self,
        ids: tuple[str, ...],
        features: Mapping[Modality, Features],
        *,
        queries: Mapping[Modality, Features] = MappingProxyType({}),
    ) -> CodeFile:
        """Return the codes of items whose features are at hand.

        Args:
            ids: the items' ids, in the order of the features' rows.
            features: per modality, as `proxyhash.encoders.encode_collection` returns them.
            queries: features of the same items as queries, where they differ.

        Raises:
            UsageError: as `logits`.
            DataError: a row of the features is not finite.
        """
        count, width = len(ids), code_bytes(self.bits)
        codes = {modality: np.zeros((count, width), np.uint8) for modality in self.networks}
        present = {modality: np.zeros(count, np.bool_) for modality in self.networks}
        unreadable: dict[Modality, np.ndarray] = {}
        for modality, given in features.items():
            codes[modality] = self._encode_rows(given, modality)
            present[modality] = given.present
            if given.unreadable is not None:
                unreadable[modality] = given.unreadable
        return CodeFile(
            ids=ids,
            codes=codes,
            present=present,
            bits=self.bits,
            model=self.fingerprint,
            unreadable=unreadable,
            queries={name: self._encode_rows(given, name) for name, given in queries.items()},
        )

    def _encode_rows(self, given: Features, modality: Modality) -> UInt8[np.ndarray, "n b"]:
        codes = np.zeros((len(given.present), code_bytes(self.bits)), np.uint8)
        rows = np.flatnonzero(given.present)
        for some in np.array_split(rows, 1 + len(rows) // 65536):  # they can be in a file
            values = np.asarray(given.values[some])
            codes[some] = self.encode_features(values, modality=modality)
            release(given.values)
        return codes

    def weigh_prepared(
        self, features: Mapping[Modality, Features]
    ) -> dict[Modality, UInt16[np.ndarray, "n k"]]:
        """Return `query_weights` of items whose features are at hand; zero where they have none.

        Args:
            features: per modality, as `proxyhash.encoders.encode_collection` returns them.

        Raises:
            UsageError: as `logits`.
        """
        found = {}
        for modality, given in features.items():
            weights = np.zeros((len(given.present), self.bits), np.uint16)
            rows = np.flatnonzero(given.present)
            for some in np.array_split(rows, 1 + len(rows) // 65536):
                values = np.asarray(given.values[some])
                weights[some] = self.query_weights(values, modality=modality)
            found[modality] = weights
        return found

    def info(self) -> dict[str, Any]:
        """Return a summary as JSON values: sizes, parts and fingerprint."""
        summary: dict[str, Any] = {
            "method": self.method,
            "bits": self.bits,
            "classes": list(self.classes),
            "fingerprint": self.fingerprint,
        }
        for modality, network in self.networks.items():
            encoder = self._encoders.get(modality)
            summary[modality] = {
                "encoder": None if encoder is None else encoder.kind,
                "features": network.dim_in,
                "hidden": list(network.config.get("hidden", ())),
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
            }
        if self.proxies is not None:
            summary["proxies"] = {
                "origin": self.proxies.origin,
                "minimum_distance": self.proxies.minimum_distance,
                "mean_distance": round(self.proxies.mean_distance, 3),
            }
        return summary

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model's folder (safetensors and JSON), completely or not at all.

        Raises:
            UsageError: `folder` exists and holds something other than a model.
        """
        saved = SavedModel(
            bits=self.bits,
            classes=self.classes,
            method=self.method,
            fingerprint=self.fingerprint,
            networks=self.networks,
            encoders=self._encoders,
            proxies=self.proxies,
        )
        write_model(saved, Path(folder))

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, device: str = "cpu") -> HashModel:
        """Return the model that `save` wrote; its codes are bit-identical.

        An encoder is loaded on first use, so that searching by text does not load an image model.

        Args:
            folder: the model's folder.
            device: where networks and encoders run.

        Raises:
            ModelError: a part is missing, damaged, or belongs to another version or model; names
                the file.
        """
        saved = read_model(Path(folder), device=device)
        try:
            model = cls(
                bits=saved.bits,
                classes=saved.classes,
                method=saved.method,
                networks=saved.networks,
                encoders=saved.encoders,
                proxies=saved.proxies,
            )
        except UsageError as error:
            raise ModelError(f"{Path(folder)} holds parts of different models: {error}") from error
        saved.check_fingerprint(model.fingerprint, Path(folder))
        return model

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> HashModel:
        """Return the model of a run or model folder, or of "user/name" on the Hugging Face hub.

        A model of the hub is fetched once, into the hub's cache, and checked.

        Args:
            source: a folder, or "user/name"; a folder of that name goes first.
            revision: branch, tag or commit on the hub; default the main branch.
            token: of the hub; default the one that huggingface_hub finds.
            cache_dir: the hub's cache; default that of huggingface_hub.
            device: where networks and encoders run.

        Raises:
            UsageError: there is no such folder, and it is not the name of a model on the hub.
            ModelError: it is not on the hub, is private, damaged, or not a model.
            ProxyhashError: the hub cannot be reached, and its cache does not have the model.
        """
        from proxyhash.hashing import model_folder
        from proxyhash.hashing.hub import fetch_model

        if Path(source).is_dir():
            return cls.load(model_folder(Path(source)), device=device)
        found = fetch_model(os.fspath(source), revision=revision, token=token, cache_dir=cache_dir)
        return cls.load(found.folder, device=device)

    def _network(self, modality: Modality) -> Network:
        if modality not in self.networks:
            *first, last = map(_plural, self.networks)
            others = f"{', '.join(first)} and {last}" if first else last
            raise UsageError(
                f"this model has no {modality} network, it encodes {others} only; "
                f"train one on items that have {_plural(modality)}"
            )
        return self.networks[modality]

    def _need_encoder(self, modality: Modality) -> Encoder:
        self._network(modality)
        encoder = self.encoder(modality)
        if encoder is None:
            raise UsageError(
                f"this model was saved without its {modality} encoder; pass features to "
                "encode_features instead"
            )
        return encoder


def _plural(modality: Modality) -> str:
    return MODALITIES[modality].plural if modality in MODALITIES else f"{modality}s"
